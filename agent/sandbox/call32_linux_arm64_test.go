package sandbox_test

import "errors"

// call32 has nothing to do: there is one numbering of calls.
func call32() error { return errors.New("no other numbering") }
