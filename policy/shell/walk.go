package shell

import (
	"slices"
	"strings"
)

// walk says which files below its operands a program uses.
type walk struct {
	// always says that all below is used without an option, and here that the
	// working directory is if there are no operands.
	always, here bool
	// visible says that names which start with a dot are left out, and hidden
	// are the options with which they are not.
	visible bool
	hidden  []string
	// links says that links are followed; follows are the options with which
	// they are, and keeps those with which they are not.
	links          bool
	follows, keeps []string
	// only are the options whose value is a pattern of the only names that are
	// used, and names those with which names are all that is told.
	only, names []string
}

// means reports whether an option says something about what is below.
func (w *walk) means(option string) bool {
	return w != nil && (slices.Contains(w.hidden, option) || slices.Contains(w.follows, option) || slices.Contains(w.keeps, option) || slices.Contains(w.names, option))
}

// below returns which files a call uses below its operands.
func (w *walk) below(used usedOptions, args []arg) Below {
	out := Below{
		Visible: w.visible && !slices.ContainsFunc(w.hidden, used.has),
		Links:   w.links && !slices.ContainsFunc(w.keeps, used.has) || slices.ContainsFunc(w.follows, used.has),
	}
	for i, g := range args {
		for _, option := range w.only {
			pattern, ok := g.text, false
			switch {
			case g.text == option && i+1 < len(args):
				g, ok = args[i+1], true
				pattern = g.text
			case strings.HasPrefix(option, "--"):
				pattern, ok = strings.CutPrefix(g.text, option+"=")
			case g.text != option:
				pattern, ok = strings.CutPrefix(g.text, option)
			}
			if !ok || strings.HasPrefix(pattern, "!") {
				continue // it leaves names out
			}
			if !g.lit && !g.glob || strings.Contains(g.text, unknown) {
				out.Names = nil
				return out
			}
			if option == "-t" || option == "--type" {
				pattern = "*." + pattern
			}
			out.Names = append(out.Names, pattern[strings.LastIndexByte(pattern, '/')+1:])
		}
	}
	return out
}
