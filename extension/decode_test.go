package extension_test

import "encoding/json"

func text(v any) string {
	n, _ := v.(json.Number)
	return n.String()
}
