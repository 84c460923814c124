package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// errGone means that nobody can answer any more.
var errGone = errors.New("the terminal is gone; nothing was changed")

// keyboard reads the keys of all questions of a command. It is the only reader,
// and reads only while there is a question: whoever read for one question and
// went on for a moment would take the first keys of the next.
type keyboard struct {
	tty *tty
	// typed is what was read and belongs to the next keys.
	typed []byte
}

// newKeyboard returns the keyboard of a terminal.
func newKeyboard(f *os.File) *keyboard { return &keyboard{tty: &tty{file: f}} }

// keyKind is what a key does.
type keyKind int

const (
	keyNone keyKind = iota
	keyText
	keyEnter
	keyBackspace
	keyClear // Ctrl-U and Escape
	keyUp
	keyDown
	keyPageUp
	keyPageDown
	keyHome
	keyEnd
	keyInterrupt
	keyEOF // Ctrl-D
)

// key is one that was pressed.
type key struct {
	kind keyKind
	text rune // of keyText
}

const (
	// glance is how often the end of the command and a new size of the terminal
	// are looked for while nothing is typed.
	glance = 100 * time.Millisecond
	// escapeTime is how long the rest of a key's sequence may take.
	escapeTime = 200 * time.Millisecond
	// maxSequence bounds a sequence, which has far fewer.
	maxSequence = 64
)

// next returns the next key. It calls idle whenever nothing was typed for a
// moment.
func (k *keyboard) next(ctx context.Context, idle func()) (key, error) {
	for {
		if ctx.Err() != nil || k.tty.over.Load() {
			return key{}, errCancelled
		}
		if len(k.typed) > 0 {
			return k.decode()
		}
		more, err := k.more(glance)
		if err != nil {
			return key{}, err
		}
		if !more {
			idle()
		}
	}
}

// more waits for what is typed.
func (k *keyboard) more(limit time.Duration) (bool, error) {
	ready, err := k.tty.readable(limit)
	if err != nil || !ready {
		return false, err
	}
	var b [1024]byte
	n, err := k.tty.read(b[:])
	k.typed = append(k.typed, b[:n]...)
	clear(b[:])
	return n > 0, err
}

// take returns the next byte, and waits for it a little.
func (k *keyboard) take() (b byte, ok bool, err error) {
	if len(k.typed) == 0 {
		if more, err := k.more(escapeTime); err != nil || !more {
			return 0, false, err
		}
	}
	b, k.typed[0] = k.typed[0], 0
	k.typed = k.typed[1:]
	return b, true, nil
}

// plainKey returns what a control character does.
func plainKey(b byte) keyKind {
	switch b {
	case '\r', '\n':
		return keyEnter
	case 0x7f, '\b':
		return keyBackspace
	case 'U' - '@':
		return keyClear
	case 'P' - '@':
		return keyUp
	case 'N' - '@':
		return keyDown
	case 'C' - '@':
		return keyInterrupt
	case 'D' - '@':
		return keyEOF
	}
	return keyNone
}

const escape = 0x1b

func (k *keyboard) decode() (key, error) {
	b, _, err := k.take()
	switch {
	case err != nil:
		return key{}, err
	case b == escape:
		kind, err := k.sequence()
		return key{kind: kind}, err
	case b < ' ' || b == 0x7f:
		return key{kind: plainKey(b)}, nil
	}
	char := []byte{b}
	for !utf8.FullRune(char) {
		b, ok, err := k.take()
		if err != nil || !ok {
			return key{}, err
		}
		char = append(char, b)
	}
	r, size := utf8.DecodeRune(char)
	if size != len(char) {
		// Not UTF-8: what follows may be a key of its own.
		k.typed = append(char[size:], k.typed...)
	}
	if r == utf8.RuneError || !unicode.IsPrint(r) {
		return key{}, nil
	}
	return key{keyText, r}, nil
}

// sequence reads what follows an escape.
func (k *keyboard) sequence() (keyKind, error) {
	b, ok, err := k.take()
	if err != nil || !ok {
		return keyClear, err
	}
	if b != '[' && b != 'O' {
		return keyNone, nil
	}
	var sequence strings.Builder
	for range maxSequence {
		next, ok, err := k.take()
		if err != nil || !ok {
			return keyNone, err
		}
		sequence.WriteByte(next)
		if b == 'O' || next >= '@' && next <= '~' {
			break
		}
	}
	switch sequence.String() {
	case "A":
		return keyUp, nil
	case "B":
		return keyDown, nil
	case "5~":
		return keyPageUp, nil
	case "6~":
		return keyPageDown, nil
	case "H", "1~", "7~":
		return keyHome, nil
	case "F", "4~", "8~":
		return keyEnd, nil
	}
	return keyNone, nil
}
