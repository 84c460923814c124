package settings

import (
	"github.com/tailscale/hujson"
)

// DecisionLog says where decisions are shipped. The credential for it is not in
// the file.
type DecisionLog struct {
	// URL is the address of the collector, "" if nothing is shipped.
	URL    string
	Labels map[string]string
}

func (r *reader) decisionLog(tree hujson.Value, at string) DecisionLog {
	var d DecisionLog
	for name, v := range r.members(tree, at) {
		at := at + "." + name
		switch name {
		case "url":
			d.URL = r.str(v, at)
		case "labels":
			d.Labels = entries(r, v, at, r.str)
		default:
			// A mistyped member would ship less, or elsewhere, in silence.
			r.wrong(v, at, "url and labels alone")
		}
	}
	if d.URL == "" {
		r.wrong(tree, at, "an object with a url")
	}
	return d
}
