package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// drawing is what a question shows: its first line, where the cursor is, and
// lines below it.
type drawing struct {
	out           io.Writer
	width, height int
}

func newDrawing(out io.Writer) *drawing {
	d := &drawing{out: out}
	d.resized()
	return d
}

// resized looks at the size of the terminal, and reports whether it is new.
func (d *drawing) resized() bool {
	width, height := 0, 0
	if f, ok := d.out.(*os.File); ok {
		width, height, _ = term.GetSize(int(f.Fd())) // a terminal that does not know it gets the usual one
	}
	if width <= 0 {
		width = 80
	}
	if height <= 0 {
		height = 24
	}
	changed := width != d.width || height != d.height
	d.width, d.height = width, height
	return changed
}

// draw shows the lines in the place of those before.
func (d *drawing) draw(lines ...string) {
	var b strings.Builder
	b.WriteString("\r\x1b[J")
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(d.cut(line))
	}
	if below := len(lines) - 1; below > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r", below)
		if column := utf8.RuneCountInString(d.cut(lines[0])); column > 0 {
			fmt.Fprintf(&b, "\x1b[%dC", column)
		}
	}
	_, _ = io.WriteString(d.out, b.String()) // a terminal that is gone says so when it is read
}

// cut returns the line as it fits in one of the terminal. Names that a file of
// the user's gives control nothing.
func (d *drawing) cut(line string) string {
	line = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, line)
	runes := []rune(line)
	return string(runes[:min(len(runes), max(d.width-1, 1))])
}

// done leaves the line as the last of the question.
func (d *drawing) done(line string) {
	d.draw(line)
	_, _ = io.WriteString(d.out, "\n") // as above
}

// line asks for a text, of which shown returns what may be seen.
func (k *keyboard) line(ctx context.Context, out io.Writer, question string, shown func(string) string) (string, error) {
	answered, err := k.tty.ask()
	if err != nil {
		return "", err
	}
	defer answered()
	d := newDrawing(out)
	var text []rune
	drawn := ""
	draw := func() {
		if now := question + shown(string(text)); now != drawn || d.resized() || k.tty.resumed.Swap(false) {
			drawn = now
			d.draw(now)
		}
	}
	defer func() { d.done(question + shown(string(text))) }()
	for draw(); ; draw() {
		pressed, err := k.next(ctx, draw)
		if err != nil {
			return "", err
		}
		switch pressed.kind {
		case keyEnter:
			return strings.TrimSpace(string(text)), nil
		case keyText:
			if text = append(text, pressed.text); len(text) > maxLineBytes {
				return "", errors.New("what was typed is too long")
			}
		case keyBackspace:
			text = text[:max(len(text)-1, 0)]
		case keyClear:
			text = text[:0]
		case keyInterrupt:
			return "", errCancelled
		case keyEOF:
			if len(text) == 0 {
				return "", errCancelled
			}
		case keyNone, keyUp, keyDown, keyPageUp, keyPageDown, keyHome, keyEnd:
		}
	}
}

// maxChoices is how many options are shown at a time.
const maxChoices = 10

// choose asks for one of the options. What is typed narrows them down.
func (k *keyboard) choose(ctx context.Context, out io.Writer, question string, options []option) (string, error) {
	answered, err := k.tty.ask()
	if err != nil {
		return "", err
	}
	defer answered()
	c := choice{question: question, options: options, drawing: newDrawing(out), tty: k.tty}
	c.narrow("")
	last := question
	defer func() { c.drawing.done(last) }()
	for c.draw(); ; c.draw() {
		pressed, err := k.next(ctx, c.idle)
		if err != nil {
			return "", err
		}
		switch pressed.kind {
		case keyEnter:
			if len(c.found) > 0 {
				chosen := c.found[c.at]
				last += " " + chosen.label
				return chosen.value, nil
			}
		case keyText:
			if len(c.text) < maxSequence {
				c.narrow(c.text + string(pressed.text))
			}
		case keyBackspace:
			_, size := utf8.DecodeLastRuneInString(c.text)
			c.narrow(c.text[:len(c.text)-size])
		case keyClear:
			c.narrow("")
		case keyUp:
			c.move(-1)
		case keyDown:
			c.move(1)
		case keyPageUp:
			c.move(-c.rows())
		case keyPageDown:
			c.move(c.rows())
		case keyHome:
			c.move(-len(c.found))
		case keyEnd:
			c.move(len(c.found))
		case keyInterrupt:
			return "", errCancelled
		case keyEOF:
			if c.text == "" {
				return "", errCancelled
			}
		case keyNone:
		}
	}
}

// choice is a question with options.
type choice struct {
	question string
	options  []option
	drawing  *drawing
	tty      *tty
	// text is what was typed, found the options that it leaves, the likeliest
	// first, and at the one that Enter takes.
	text  string
	found []option
	at    int
}

func (c *choice) narrow(text string) {
	c.text, c.at = text, 0
	c.found = c.found[:0]
	text = strings.ToLower(text)
	rank := func(o option) int {
		switch label := strings.ToLower(o.label); {
		case strings.ToLower(o.value) == text:
			return 0
		case strings.HasPrefix(label, text), strings.HasPrefix(strings.ToLower(o.value), text):
			return 1
		case strings.Contains(label, text):
			return 2
		}
		return 3
	}
	for _, o := range c.options {
		if rank(o) < 3 {
			c.found = append(c.found, o)
		}
	}
	if text != "" {
		slices.SortStableFunc(c.found, func(a, b option) int { return rank(a) - rank(b) })
	}
}

func (c *choice) move(by int) { c.at = max(min(c.at+by, len(c.found)-1), 0) }

// rows is how many options there is room for.
func (c *choice) rows() int { return max(min(maxChoices, c.drawing.height-3), 1) }

func (c *choice) idle() {
	if c.drawing.resized() || c.tty.resumed.Swap(false) {
		c.draw()
	}
}

func (c *choice) draw() {
	lines := []string{c.question + " " + c.text}
	// The list moves a page at a time.
	from := c.at / c.rows() * c.rows()
	for i, o := range c.found[from:min(from+c.rows(), len(c.found))] {
		mark := "  "
		if from+i == c.at {
			mark = "> "
		}
		lines = append(lines, mark+o.label)
	}
	hint := "type to search; arrows and Enter choose"
	switch {
	case len(c.found) == 0:
		hint = "none has that; Backspace and Escape take it back"
	case len(c.found) > c.rows():
		hint = fmt.Sprintf("%d of %d; %s", c.at+1, len(c.found), hint)
	}
	c.drawing.draw(append(lines, "  "+hint)...)
}
