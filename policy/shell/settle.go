package shell

// settle judges, with the whole text read, what had to be assumed on the way.
func (a *analysis) settle() {
	if a.arithmetic && a.hidden {
		a.dynamic()
		for _, v := range a.values {
			a.expansion(v.text, v.s)
		}
	}
	home := false
	for _, table := range a.tables {
		home = home || table.loose || table.byName["HOME"] != nil || table.byName["PWD"] != nil
	}
	for i := range a.command.Files {
		if f := &a.command.Files[i]; f.Home && home {
			f.Dynamic = true
		}
	}
	for _, table := range a.tables {
		ifs := table.byName["IFS"] != nil
		for _, v := range table.byName {
			for _, i := range v.files {
				if i < len(a.command.Files) && (v.assigned != 1 || table.loose || ifs) {
					a.command.Files[i].Dynamic = true
				}
			}
			if !v.used || v.assigned == 1 && !table.loose && !ifs {
				continue
			}
			a.dynamic()
			for _, i := range v.calls {
				if i < len(a.command.Calls) {
					a.command.Calls[i].Dynamic = true
				}
			}
			for _, i := range v.redirects {
				if i < len(a.command.Redirects) {
					a.command.Redirects[i].Dynamic = true
				}
			}
		}
	}
	for _, l := range a.late {
		if l.changes != a.dirs.changes {
			a.command.Redirects[l.index].Dynamic = true
		}
	}
	for _, l := range a.lateFiles {
		if l.changes != a.dirs.changes {
			a.command.Files[l.index].Dynamic = true
		}
	}
}
