package e2e_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	compareSessions    = 34
	compareConnections = 16
	compareRounds      = 5
	compareRound       = 2 * time.Second
)

// TestCompare measures our server and the original in one run, in turns, on the
// same work, and checks every answer. It needs OPENCODE_TEST_COMPARE=1, since
// it is a benchmark: what else the machine does shows in it.
func TestCompare(t *testing.T) {
	if os.Getenv("OPENCODE_TEST_COMPARE") != "1" {
		t.Skip("SKIPPED: OPENCODE_TEST_COMPARE=1 compares the speed with that of the original; on a busy machine it says nothing")
	}
	requireE2E(t)
	both := []*contender{{name: "original", prepare: prepareOriginal}, {name: "ours", prepare: prepareOurs}}
	for _, c := range both {
		c.measureStarts(t)
		c.makeSessions(t)
		c.idle = residentOf(t, c.server.PID)
	}
	routes := []struct {
		path string
		// times is how many times as fast as the original ours must be, if at all.
		times float64
		check func(*testing.T, *contender, []byte)
	}{
		{path: "/global/health", check: checkHealth},
		{path: "/path", times: 5, check: checkPath},
		{path: "/session", times: 10, check: checkSessions},
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\toriginal\tours\tratio")
	row := func(what string, format func(float64) string, values [2]float64, ratio float64) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%.1f\n", what, format(values[0]), format(values[1]), ratio)
	}
	milliseconds := func(v float64) string { return fmt.Sprintf("%.2f ms", v*1000) }
	for _, route := range routes {
		var rates, slowest [2][]float64
		requests := make([]*loadRequest, len(both))
		for i, c := range both {
			requests[i] = c.request(t, route.path, route.check)
		}
		for range compareRounds {
			for i, r := range requests {
				rate, p99 := r.round(t)
				rates[i], slowest[i] = append(rates[i], rate), append(slowest[i], p99)
			}
		}
		rate := [2]float64{median(rates[0]), median(rates[1])}
		row("GET "+route.path+", requests/s", func(v float64) string { return fmt.Sprintf("%.0f", v) }, rate, rate[1]/rate[0])
		p99 := [2]float64{median(slowest[0]), median(slowest[1])}
		row("GET "+route.path+", p99", milliseconds, p99, p99[0]/p99[1])
		if rate[1] < route.times*rate[0] {
			t.Errorf("GET %s: %.0f requests/s, want %.0f times the %.0f of the original", route.path, rate[1], route.times, rate[0])
		}
	}
	start := [2]float64{median(both[0].starts), median(both[1].starts)}
	row("from exec to listening", milliseconds, start, start[0]/start[1])
	megabytes := func(v float64) string { return fmt.Sprintf("%.0f MB", v/1024) }
	idle := [2]float64{float64(both[0].idle), float64(both[1].idle)}
	row("resident, idle", megabytes, idle, idle[0]/idle[1])
	loaded := [2]float64{float64(residentOf(t, both[0].server.PID)), float64(residentOf(t, both[1].server.PID))}
	row("resident, after the load", megabytes, loaded, loaded[0]/loaded[1])
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("medians of %d rounds of %v, %d connections, %d sessions:\n%s", compareRounds, compareRound, compareConnections, compareSessions, table.String())
}

// contender is a server that is measured.
type contender struct {
	name    string
	prepare func(*testing.T) (s *instance, binary string, args []string)

	server *instance
	// starts are seconds from exec to listening.
	starts []float64
	// idle is the resident memory in kB before the load.
	idle int
}

func prepareOriginal(t *testing.T) (s *instance, binary string, args []string) {
	t.Helper()
	binary, dir := clientBinary(t), tempDir(t)
	s = &instance{Project: newProject(t, dir), Token: "password", Env: append(homeEnv(dir), quietEnv()...)}
	s.Env = append(s.Env, "OPENCODE_SERVER_PASSWORD="+s.Token)
	return s, binary, []string{"serve", "--port", freePort(t)}
}

func prepareOurs(t *testing.T) (s *instance, binary string, args []string) {
	t.Helper()
	binary, dir := serverBinary(t), tempDir(t)
	s = &instance{Project: newProject(t, dir), Env: homeEnv(dir)}
	s.Token = s.createToken(t, "read", "write", "execute")
	return s, binary, []string{"serve", "--port", freePort(t), "--directory", s.Project}
}

// measureStarts starts the server a few times, and leaves it running. The
// first start, which makes the database, does not count.
func (c *contender) measureStarts(t *testing.T) {
	t.Helper()
	s, binary, args := c.prepare(t)
	for i := range compareRounds + 1 {
		began := time.Now()
		s.start(t, false, binary, args...)
		if took := time.Since(began); i > 0 {
			c.starts = append(c.starts, took.Seconds())
		}
		if i < compareRounds {
			s.Stop()
		}
	}
	c.server = s
}

func compareTitle(i int) string { return fmt.Sprintf("session %d of the comparison", i) }

func (c *contender) makeSessions(t *testing.T) {
	t.Helper()
	for i := range compareSessions {
		newSession(t, c.server, map[string]any{"title": compareTitle(i)})
	}
}

func checkHealth(t *testing.T, c *contender, body []byte) {
	t.Helper()
	var health struct{ Healthy bool }
	if err := json.Unmarshal(body, &health); err != nil || !health.Healthy {
		t.Fatalf("%s: %s, %v", c.name, body, err)
	}
}

func checkPath(t *testing.T, c *contender, body []byte) {
	t.Helper()
	var path struct{ Home, State, Config, Worktree, Directory string }
	if err := json.Unmarshal(body, &path); err != nil || path.Directory != c.server.Project || path.Worktree != c.server.Project ||
		path.Home == "" || path.State == "" || path.Config == "" {
		t.Fatalf("%s: %s, %v", c.name, body, err)
	}
}

func checkSessions(t *testing.T, c *contender, body []byte) {
	t.Helper()
	var sessions []struct{ Title string }
	if err := json.Unmarshal(body, &sessions); err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, s := range sessions {
		got = append(got, s.Title)
	}
	for i := range compareSessions {
		want = append(want, compareTitle(compareSessions-1-i))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s: %s", c.name, diff)
	}
}

// loadRequest is a request that is sent over and over, and the body that each
// answer must have.
type loadRequest struct {
	address string
	text    []byte
	want    string
}

// request prepares a request as the clients send it, and checks its answer.
func (c *contender) request(t *testing.T, path string, check func(*testing.T, *contender, []byte)) *loadRequest {
	t.Helper()
	u, err := url.Parse(c.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	r := &loadRequest{address: u.Host}
	r.text = fmt.Appendf(nil, "GET %s?directory=%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic %s\r\nAccept: */*\r\n\r\n",
		path, url.QueryEscape(c.server.Project), u.Host, basicToken(c.server.Token))
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	body, err := r.exchange(conn, bufio.NewReader(conn))
	if err != nil {
		t.Fatal(err)
	}
	check(t, c, body)
	r.want = string(body)
	return r
}

// exchange sends the request and returns the body of its answer.
func (r *loadRequest) exchange(conn net.Conn, from *bufio.Reader) ([]byte, error) {
	if _, err := conn.Write(r.text); err != nil {
		return nil, err
	}
	res, err := http.ReadResponse(from, nil)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d: %s", res.StatusCode, body)
	}
	return body, nil
}

// round sends the request on all connections for a while. It returns how many
// were answered in a second, and how long 99 of 100 took at most, in seconds.
func (r *loadRequest) round(t *testing.T) (rate, p99 float64) {
	t.Helper()
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		took   []float64
		failed error
	)
	began := time.Now()
	for range compareConnections {
		wg.Go(func() {
			mine, err := r.repeat(t, began.Add(compareRound))
			mu.Lock()
			defer mu.Unlock()
			took, failed = append(took, mine...), errors.Join(failed, err)
		})
	}
	wg.Wait()
	elapsed := time.Since(began)
	if failed != nil || len(took) == 0 {
		t.Fatalf("%d answers, then %v", len(took), failed)
	}
	slices.Sort(took)
	return float64(len(took)) / elapsed.Seconds(), took[len(took)*99/100]
}

// repeat sends the request on one connection until the end.
func (r *loadRequest) repeat(t *testing.T, end time.Time) ([]float64, error) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", r.address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	from := bufio.NewReaderSize(conn, 64<<10)
	var took []float64
	for now := time.Now(); now.Before(end); {
		body, err := r.exchange(conn, from)
		if err != nil {
			return took, err
		}
		if string(body) != r.want {
			return took, fmt.Errorf("answer %d differs from the first: %s", len(took), body)
		}
		next := time.Now()
		took, now = append(took, next.Sub(now).Seconds()), next
	}
	return took, nil
}

// median is the middle of the values.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
