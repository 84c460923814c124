package server_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkLoopback sends the same request over loopback to the whole server,
// to the same server without its gate (no token, decision or record), and to
// its router alone (no Host, Origin and headers either). One iteration is a
// round of all three, each time another first, and the figures are medians over
// the rounds, so that what else the machine does falls on all. The client counts
// too: once Go's, once one that does next to nothing.
func BenchmarkLoopback(b *testing.B) {
	s, token := benchServer(b, 0)
	for _, client := range []struct {
		name string
		dial func(b *testing.B, ts *httptest.Server, token string) func() error
	}{{"client=go", goClient}, {"client=bare", bareClient}} {
		b.Run(client.name, func(b *testing.B) {
			sides := []*side{
				newSide(b, "gated", s, token, client.dial),
				newSide(b, "ungated", s.Ungated(), token, client.dial),
				newSide(b, "router", s.Mux(), token, client.dial),
			}
			for _, side := range sides {
				side.run(b)
				side.cpu, side.wall = nil, nil // that was to warm up
			}
			for round := 0; b.Loop(); round++ {
				for i := range sides {
					sides[(round+i)%len(sides)].run(b)
				}
			}
			b.ReportMetric(0, "ns/op") // a round says nothing
			gated := sides[0]
			for _, side := range sides {
				b.ReportMetric(median(side.cpu), side.name+"-cpu-µs/request")
				b.ReportMetric(1e6/median(side.wall), side.name+"-requests/s")
				if side != gated {
					b.ReportMetric(100*(1-median(side.cpu)/median(gated.cpu)), "%-cpu-below-"+side.name)
					b.ReportMetric(100*(1-median(side.wall)/median(gated.wall)), "%-clock-below-"+side.name)
				}
			}
		})
	}
}

// perRound is how many requests each connection sends in a round.
const perRound = 1000

// side is a server that is measured, with a client for each processor.
type side struct {
	name      string
	clients   []func() error
	cpu, wall []float64 // microseconds a request
}

func newSide(b *testing.B, name string, h http.Handler, token string, dial func(*testing.B, *httptest.Server, string) func() error) *side {
	b.Helper()
	ts := httptest.NewServer(h)
	b.Cleanup(ts.Close)
	s := &side{name: name}
	for range runtime.GOMAXPROCS(0) {
		s.clients = append(s.clients, dial(b, ts, token))
	}
	return s
}

func (s *side) run(b *testing.B) {
	b.Helper()
	var wait sync.WaitGroup
	errs := make([]error, len(s.clients))
	start, cpu := time.Now(), processorTime(b)
	for i, get := range s.clients {
		wait.Go(func() {
			for range perRound {
				if errs[i] = get(); errs[i] != nil {
					return
				}
			}
		})
	}
	wait.Wait()
	n := float64(perRound * len(s.clients))
	s.wall = append(s.wall, float64(time.Since(start).Microseconds())/n)
	s.cpu = append(s.cpu, float64((processorTime(b)-cpu).Microseconds())/n)
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return (list[(len(list)-1)/2] + list[len(list)/2]) / 2
}

// processorTime is what this process has taken of the processors.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// goClient asks as most programs in Go do, and reads the answer to its end.
func goClient(b *testing.B, ts *httptest.Server, token string) func() error {
	b.Helper()
	transport := &http.Transport{}
	b.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	return func() error {
		r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, ts.URL+"/session/status", nil)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := client.Do(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close() //nolint:errcheck // only read
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		return checkAnswer(resp, body)
	}
}

func checkAnswer(resp *http.Response, body []byte) error {
	if resp.StatusCode != http.StatusOK || string(body) != "{}\n" {
		return fmt.Errorf("GET /session/status: %s %q", resp.Status, body)
	}
	return nil
}

// bareClient sends the same bytes each time and wants as many back as the first
// answer had, which begin and end as that did.
func bareClient(b *testing.B, ts *httptest.Server, token string) func() error {
	b.Helper()
	addr := strings.TrimPrefix(ts.URL, "http://")
	conn, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	request := []byte("GET /session/status HTTP/1.1\r\nHost: " + addr + "\r\nUser-Agent: bench\r\nAuthorization: Bearer " + token + "\r\n\r\n")
	if _, err := conn.Write(request); err != nil {
		b.Fatal(err)
	}
	var first bytes.Buffer
	resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(conn, &first)), nil)
	if err != nil {
		b.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close(), checkAnswer(resp, body)); err != nil {
		b.Fatal(err)
	}
	answer := make([]byte, first.Len())
	head, tail := []byte("HTTP/1.1 200 OK\r\n"), []byte("\r\n\r\n{}\n")
	return func() error {
		if _, err := conn.Write(request); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, answer); err != nil {
			return err
		}
		if !bytes.HasPrefix(answer, head) || !bytes.HasSuffix(answer, tail) {
			return fmt.Errorf("another answer than the first: %q", answer)
		}
		return nil
	}
}
