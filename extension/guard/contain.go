package guard

import "fmt"

// Contain carries out what reads a module, and returns a panic of it as an
// error: what somebody wrote is then refused, and does not end the program.
func Contain(read func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the reader of modules failed: %v", v)
		}
	}()
	return read()
}
