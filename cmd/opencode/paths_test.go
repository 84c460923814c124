package main

import "testing"

func TestDirectories(t *testing.T) {
	type dirs struct{ config, data, state, runtime string }
	for name, row := range map[string]struct {
		env  map[string]string
		want dirs
	}{
		"home alone": {
			map[string]string{"HOME": "/h"},
			dirs{"/h/.config/opencode", "/h/.local/share/opencode", "/h/.local/state/opencode", "/h/.local/state/opencode/run"},
		},
		"all set": {
			map[string]string{"HOME": "/h", "XDG_CONFIG_HOME": "/c", "XDG_DATA_HOME": "/d", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/r"},
			dirs{"/c/opencode", "/d/opencode", "/s/opencode", "/r/opencode"},
		},
		"all set, no home": {
			map[string]string{"XDG_CONFIG_HOME": "/c", "XDG_DATA_HOME": "/d", "XDG_STATE_HOME": "/s"},
			dirs{"/c/opencode", "/d/opencode", "/s/opencode", "/s/opencode/run"},
		},
		"relative ones do not count": {
			map[string]string{"HOME": "/h", "XDG_CONFIG_HOME": "c", "XDG_DATA_HOME": "./d", "XDG_STATE_HOME": "~/s", "XDG_RUNTIME_DIR": "../r"},
			dirs{"/h/.config/opencode", "/h/.local/share/opencode", "/h/.local/state/opencode", "/h/.local/state/opencode/run"},
		},
		"no home":       {nil, dirs{}},
		"relative home": {map[string]string{"HOME": "h"}, dirs{}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, k := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"} {
				t.Setenv(k, row.env[k])
			}
			for _, d := range []struct {
				name string
				dir  func() (string, error)
				want string
			}{
				{"configDir", configDir, row.want.config},
				{"dataDir", dataDir, row.want.data},
				{"stateDir", stateDir, row.want.state},
				{"runtimeDir", runtimeDir, row.want.runtime},
			} {
				got, err := d.dir()
				if got != d.want || (err != nil) != (d.want == "") {
					t.Errorf("%s = %q, %v, want %q", d.name, got, err, d.want)
				}
				if err != nil && !hasHint(err) {
					t.Errorf("%s = %v, want a hint", d.name, err)
				}
			}
		})
	}
}
