package agent_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"opencode/agent"
	"opencode/policy"
	"opencode/store"
)

// TestNoTerminals asks an agent for a terminal that has none.
func TestNoTerminals(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	if _, err := r.agent.CreatePTY(t.Context(), person(), agent.PTYInput{}); !errors.Is(err, agent.ErrInvalid) {
		t.Errorf("CreatePTY: %v, want %v", err, agent.ErrInvalid)
	}
	if list := r.agent.PTYs(""); len(list) != 0 {
		t.Errorf("PTYs: %v", list)
	}
	if _, err := r.agent.PTY("", "pty_1"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("PTY: %v", err)
	}
	if _, err := r.agent.UpdatePTY("", "pty_1", "t", nil); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("UpdatePTY: %v", err)
	}
	if err := r.agent.RemovePTY(t.Context(), "", "pty_1"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("RemovePTY: %v", err)
	}
	if _, err := r.agent.IssueTicket(person(), "", "pty_1"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("IssueTicket: %v", err)
	}
	if _, err := r.agent.RedeemTicket(t.Context(), "", "", "pty_1"); !errors.Is(err, agent.ErrTicket) {
		t.Errorf("RedeemTicket: %v", err)
	}
}

// TestNobodyIsValidByDefault asks about principals without a way to look them
// up.
func TestNobodyIsValidByDefault(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	for _, c := range []struct {
		principal policy.Principal
		want      bool
	}{
		{policy.Principal{}, false},
		{policy.Anonymous(), false},
		{person(), false},
		{policy.Principal{Kind: policy.PrincipalLocal, ID: "local"}, true},
	} {
		if got := r.agent.Valid(context.Background(), c.principal); got != c.want {
			t.Errorf("Valid(%+v) = %v, want %v", c.principal, got, c.want)
		}
	}
}

func TestTicketNeverPrints(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	var ticket agent.Ticket
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", slog.Any("ticket", ticket))
	if text := fmt.Sprint(ticket); text != "[redacted]" || !strings.Contains(log.String(), "[redacted]") {
		t.Errorf("a ticket prints %q and logs %q", text, log.String())
	}
}
