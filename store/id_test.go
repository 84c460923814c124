package store_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"opencode/store"
)

func TestIDForm(t *testing.T) {
	t.Parallel()
	const ms = 1790000000123
	now := func() time.Time { return time.UnixMilli(ms) }
	random := append(bytes.Repeat([]byte{0}, 31), 61)
	ids := store.NewIDs(now, bytes.NewReader(random))
	stamp := uint64(ms*4096+1) & 0xffffffffffff
	if got, want := ids.New("msg"), fmt.Sprintf("msg_%012x%s", stamp, strings.Repeat("0", 14)); got != want {
		t.Errorf("New = %q, want %q", got, want)
	}
	want := fmt.Sprintf("ses_%012x%sz", ^(stamp+1)&0xffffffffffff, strings.Repeat("0", 13))
	if got := ids.NewDescending("ses"); got != want {
		t.Errorf("NewDescending = %q, want %q", got, want)
	}
}

// TestIDDigits holds the random digits against arithmetic on big numbers.
func TestIDDigits(t *testing.T) {
	t.Parallel()
	random := bytes.Repeat([]byte{0xff}, 16)
	for range 200 {
		random = append(random, newRandom(t)...)
	}
	ids := store.NewIDs(func() time.Time { return time.UnixMilli(1790000000123) }, bytes.NewReader(random))
	base := new(big.Int).Exp(big.NewInt(62), big.NewInt(14), nil)
	for ; len(random) > 0; random = random[16:] {
		v := new(big.Int).SetBytes(random[:16])
		if got, want := ids.New("msg")[16:], encode(v.Mod(v, base), 14); got != want {
			t.Fatalf("digits of %x = %q, want %q", random[:16], got, want)
		}
	}
}

func newRandom(t *testing.T) []byte {
	t.Helper()
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestIDsWithDefaults(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^prt_[0-9a-f]{12}[0-9A-Za-z]{14}$`)
	ids := store.NewIDs(nil, nil)
	randoms := make(map[string]bool)
	for range 1000 {
		id := ids.New("prt")
		if !form.MatchString(id) || !store.ValidID("prt", id) {
			t.Fatalf("New = %q, want 12 hex digits and 14 of base 62", id)
		}
		randoms[id[16:]] = true
	}
	if len(randoms) != 1000 {
		t.Errorf("1000 ids have %d random parts", len(randoms))
	}
}

func TestIDsFollowTheClock(t *testing.T) {
	t.Parallel()
	older := store.NewIDs(func() time.Time { return time.UnixMilli(1790000000000) }, nil)
	newer := store.NewIDs(func() time.Time { return time.UnixMilli(1790000000001) }, nil)
	// Another source, as in another process, is in order as soon as the
	// millisecond differs.
	for range 4000 {
		older.New("msg")
	}
	if a, b := older.New("msg"), newer.New("msg"); a >= b {
		t.Errorf("the id %q of the earlier millisecond is not less than %q", a, b)
	}
	if a, b := older.NewDescending("ses"), newer.NewDescending("ses"); a <= b {
		t.Errorf("the descending id %q of the earlier millisecond is not greater than %q", a, b)
	}
}

func TestIDsIncreaseWhateverTheClockDoes(t *testing.T) {
	t.Parallel()
	start := time.UnixMilli(1790000000000)
	for name, now := range map[string]func(n int) time.Time{
		"stands still": func(int) time.Time { return start },
		"goes on":      func(n int) time.Time { return start.Add(time.Duration(n) * 100 * time.Microsecond) },
		"steps back":   func(n int) time.Time { return start.Add(-time.Duration(n) * time.Second) },
		"jumps":        func(n int) time.Time { return start.Add(time.Duration(n%7-3) * time.Hour) },
		"before 1970":  func(int) time.Time { return time.Unix(-1, 0) },
		"year 1":       func(int) time.Time { return time.Time{} },
	} {
		n := 0
		ids := store.NewIDs(func() time.Time { n++; return now(n) }, nil)
		up, down := ids.New("msg"), ids.NewDescending("ses")
		// More than the counter of one millisecond can count.
		for range 10000 {
			nextUp, nextDown := ids.New("msg"), ids.NewDescending("ses")
			if nextUp <= up || nextDown >= down {
				t.Fatalf("clock %s: %q follows %q, %q follows %q", name, nextUp, up, nextDown, down)
			}
			up, down = nextUp, nextDown
		}
	}
}

// TestIDsAreOrderedAcrossGoroutines checks that an id is greater than every id
// whose making had ended before its own began.
func TestIDsAreOrderedAcrossGoroutines(t *testing.T) {
	t.Parallel()
	const goroutines, each = 8, 2000
	ids := store.NewIDs(nil, nil)
	var newest atomic.Pointer[string]
	newest.Store(new(string))
	made := make([][]string, goroutines)
	var wg sync.WaitGroup
	for i := range goroutines {
		wg.Go(func() {
			for range each {
				before := newest.Load()
				id := ids.New("msg")
				if id <= *before {
					t.Errorf("%q was made after %q", id, *before)
					return
				}
				for old := before; id > *old && !newest.CompareAndSwap(old, &id); {
					old = newest.Load()
				}
				made[i] = append(made[i], id)
			}
		})
	}
	wg.Wait()
	seen := make(map[string]bool)
	for _, list := range made {
		for _, id := range list {
			seen[id[:16]] = true
		}
	}
	if len(seen) != goroutines*each {
		t.Errorf("%d different stamps in %d ids", len(seen), goroutines*each)
	}
}

func TestIDsNeedRandomBits(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("New made an id without random bits")
		}
	}()
	store.NewIDs(nil, bytes.NewReader(make([]byte, 15))).New("msg")
}

func TestValidID(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		prefix, id string
		want       bool
	}{
		{"ses", "ses_0123456789abABCDEFGHIJKLMN", true},
		{"ses", "ses_1", true},
		{"ses", "ses_" + strings.Repeat("z", 64), true},
		{"ses", "ses_" + strings.Repeat("z", 65), false},
		{"ses", "ses_", false},
		{"ses", "ses", false},
		{"ses", "", false},
		{"ses", "msg_1", false},
		{"ses", "SES_1", false},
		{"ses", "ses-1", false},
		{"ses", "xses_1", false},
		{"ses", "ses__1", false},
		{"ses", "ses_a_b", false},
		{"ses", "ses_a-b", false},
		{"ses", "ses_../x", false},
		{"ses", "ses_1\n", false},
		{"ses", "ses_1\x00", false},
		{"ses", "ses_é", false},
		{"ses", "ses_１", false},
		{"ses", "ses_a%", false},
		{"", "_1", false},
		{"", "1", false},
	} {
		if got := store.ValidID(row.prefix, row.id); got != row.want {
			t.Errorf("ValidID(%q, %q) = %v, want %v", row.prefix, row.id, got, row.want)
		}
	}
}

func BenchmarkNewID(b *testing.B) {
	ids := store.NewIDs(nil, nil)
	b.ReportAllocs()
	for b.Loop() {
		if ids.New("msg") == "" {
			b.Fatal("no id")
		}
	}
}
