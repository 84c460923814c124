package agent

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"opencode/policy"
)

// TicketLife is how long a ticket is good for.
const TicketLife = 60 * time.Second

// maxTickets bounds how many tickets there can be at once.
const maxTickets = 1024

// ErrTicket means that a ticket is not good for what it was shown for. It says
// no more on purpose.
var ErrTicket = errors.New("the ticket is not valid")

// Ticket lets whoever shows it connect to one terminal, once. It never prints.
type Ticket struct{ text string }

// Reveal returns the text of the ticket.
func (t Ticket) Reveal() string { return t.text }

// String returns nothing of the ticket.
func (Ticket) String() string { return "[redacted]" }

// LogValue returns nothing of the ticket.
func (Ticket) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// tickets are the tickets that nobody has shown yet, by their hash.
type tickets struct {
	mu   sync.Mutex
	open map[[sha256.Size]byte]ticket
}

// ticket is what a ticket is good for.
type ticket struct {
	principal policy.Principal
	directory string
	pty       string
	expires   time.Time
}

func newTickets() *tickets { return &tickets{open: map[[sha256.Size]byte]ticket{}} }

// IssueTicket returns a ticket with which a principal can connect to a terminal
// of its own. It is bound to the directory of the terminal: whoever shows it may
// name no other.
func (a *Agent) IssueTicket(p policy.Principal, directory, id string) (Ticket, error) {
	if _, err := a.ConnectPTY(p, directory, id); err != nil {
		return Ticket{}, err
	}
	info, err := a.PTY(directory, id)
	if err != nil {
		return Ticket{}, err
	}
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		return Ticket{}, err
	}
	t := Ticket{base64.RawURLEncoding.EncodeToString(random)}
	now := a.cfg.Now()
	a.tickets.mu.Lock()
	defer a.tickets.mu.Unlock()
	for hash, old := range a.tickets.open {
		if !now.Before(old.expires) {
			delete(a.tickets.open, hash)
		}
	}
	if len(a.tickets.open) >= maxTickets {
		return Ticket{}, fmt.Errorf("ticket: %w: %d tickets have not been used yet", ErrLimit, maxTickets)
	}
	a.tickets.open[sha256.Sum256([]byte(t.text))] = ticket{
		principal: p, directory: info.Directory, pty: id, expires: now.Add(TicketLife),
	}
	return t, nil
}

// RedeemTicket returns the principal to whom a ticket for a terminal was given,
// or [ErrTicket]. The ticket is used up by it, whatever it returns.
func (a *Agent) RedeemTicket(ctx context.Context, text, directory, id string) (policy.Principal, error) {
	// What is looked up is a hash: the time that takes says nothing of tickets.
	hash := sha256.Sum256([]byte(text))
	a.tickets.mu.Lock()
	t, ok := a.tickets.open[hash]
	delete(a.tickets.open, hash)
	a.tickets.mu.Unlock()
	if !ok || t.pty != id || directory != "" && t.directory != directory || !a.cfg.Now().Before(t.expires) || !a.Valid(ctx, t.principal) {
		return policy.Principal{}, ErrTicket
	}
	return t.principal, nil
}
