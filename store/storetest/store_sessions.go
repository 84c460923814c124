package storetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"opencode/store"
)

func sessionTests() map[string]func(t *testing.T, open func() store.Store) {
	return map[string]func(t *testing.T, open func() store.Store){
		"session round trip":      testSessionRoundTrip,
		"session missing":         testSessionMissing,
		"session exists":          testSessionExists,
		"session malformed":       testSessionMalformed,
		"session parent":          testSessionParent,
		"session order":           testSessionOrder,
		"session filters":         testSessionFilters,
		"session search":          testSessionSearch,
		"session limit":           testSessionLimit,
		"session update":          testSessionUpdate,
		"session update fails":    testSessionUpdateFails,
		"session delete":          testSessionDelete,
		"session delete cascades": testSessionDeleteCascades,
		"session delete deep":     testSessionDeleteDeep,
	}
}

func testSessionRoundTrip(t *testing.T, open func() store.Store) {
	s := open()
	full := session("ses_full")
	full.Metadata = json.RawMessage(`{"a": [1, 2.50, "\u00e9"],  "b": null}`)
	full.Model = json.RawMessage(`{"id":"m","providerID":"p"}`)
	full.Restrictions = json.RawMessage(`[{"permission":"bash","pattern":"*","action":"deny"}]`)
	full.Revert = json.RawMessage(`{"messageID":"msg_1"}`)
	full.Archived = at(9).Add(7 * time.Millisecond)
	full.Updated = at(8).Add(time.Millisecond)
	strange := session(`ses_'"%_\`)
	strange.Title = "a\x00b\n'\"\\%_ é 𝔘 \u202e"
	strange.Directory = "/with space/'%_\\/\x01"
	strange.Agent = strings.Repeat("long", 10000)
	bare := store.Session{ID: "ses_bare"}
	mustSession(t, s, full, strange, bare)
	for _, h := range []store.Store{s, open()} {
		wantSession(t, h, full)
		wantSession(t, h, strange)
		wantSession(t, h, bare)
	}
	// Whatever zone a time is in, it is the same moment, and comes back in UTC.
	zoned := session("ses_zoned")
	zoned.Created = zoned.Created.In(time.FixedZone("east", 3600))
	mustSession(t, s, zoned)
	wantSession(t, s, session("ses_zoned"))
}

func testSessionMissing(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"))
	for _, id := range []string{"", "ses_", "ses_2", "SES_1", "ses_1 ", "ses_1\x00", "%", "' OR 1=1 --"} {
		got, err := s.Session(t.Context(), id)
		wantErr(t, fmt.Sprintf("Session(%q)", id), err, store.ErrNotExist)
		wantSame(t, fmt.Sprintf("the result of Session(%q)", id), store.Session{}, got, nil)
		_, err = s.UpdateSession(t.Context(), id, func(*store.Session) error {
			t.Errorf("UpdateSession(%q) calls its function", id)
			return nil
		})
		wantErr(t, fmt.Sprintf("UpdateSession(%q)", id), err, store.ErrNotExist)
		deleted, err := s.DeleteSession(t.Context(), id)
		wantErr(t, fmt.Sprintf("DeleteSession(%q)", id), err, store.ErrNotExist)
		if len(deleted) > 0 {
			t.Errorf("DeleteSession(%q) = %v beside its error", id, deleted)
		}
	}
	_, err := s.Session(t.Context(), "ses_2")
	if err == nil || !strings.Contains(err.Error(), `"ses_2"`) {
		t.Errorf("the error %v does not name the session", err)
	}
	wantSession(t, s, session("ses_1"))
}

func testSessionExists(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"))
	other := session("ses_1")
	other.Title, other.Directory = "stolen", "/other"
	wantErr(t, "CreateSession again", s.CreateSession(t.Context(), other), store.ErrExist)
	wantSession(t, s, session("ses_1"))
}

func testSessionMalformed(t *testing.T, open func() store.Store) {
	s := open()
	bad := session("ses_1")
	bad.Metadata = json.RawMessage(`{"a":`)
	for name, session := range map[string]store.Session{"no id": {}, "metadata": bad} {
		if err := s.CreateSession(t.Context(), session); err == nil {
			t.Errorf("CreateSession accepts a session with malformed %s", name)
		}
	}
	got, err := s.Sessions(t.Context(), store.SessionFilter{})
	wantSame(t, "Sessions", []store.Session{}, got, err)
}

func testSessionParent(t *testing.T, open func() store.Store) {
	s := open()
	child := session("ses_child")
	child.ParentID = "ses_root"
	wantErr(t, "CreateSession without its parent", s.CreateSession(t.Context(), child), store.ErrNotExist)
	narcissist := session("ses_own")
	narcissist.ParentID = "ses_own"
	wantErr(t, "CreateSession of its own parent", s.CreateSession(t.Context(), narcissist), store.ErrNotExist)
	got, err := s.Sessions(t.Context(), store.SessionFilter{})
	wantSame(t, "Sessions", []store.Session{}, got, err)

	mustSession(t, s, session("ses_root"), child)
	wantSession(t, s, child)
}

func testSessionOrder(t *testing.T, open func() store.Store) {
	s := open()
	for i, ms := range []int{5, 1, 9, 3, 9, 0} {
		session := session(fmt.Sprintf("ses_%d", i))
		session.Updated = at(0).Add(time.Duration(ms) * time.Millisecond)
		mustSession(t, s, session)
	}
	want := []string{"ses_2", "ses_4", "ses_0", "ses_3", "ses_1", "ses_5"}
	got, err := s.Sessions(t.Context(), store.SessionFilter{})
	wantSame(t, "Sessions", want, ids(got), err)

	// An update moves a session to its new place.
	_, err = s.UpdateSession(t.Context(), "ses_5", func(s *store.Session) error {
		s.Updated = at(1)
		return nil
	})
	if err != nil {
		t.Fatalf("UpdateSession: %v", err)
	}
	got, err = s.Sessions(t.Context(), store.SessionFilter{})
	wantSame(t, "Sessions after the update", []string{"ses_5", "ses_2", "ses_4", "ses_0", "ses_3", "ses_1"}, ids(got), err)
}

// testSessionFilters compares each combination of filters with a filter over
// all sessions.
func testSessionFilters(t *testing.T, open func() store.Store) {
	s := open()
	var all []store.Session
	for i := range 24 {
		session := session(fmt.Sprintf("ses_%02d", i))
		session.Directory = []string{"/a", "/a/b", "/A"}[i%3]
		session.Title = []string{"Alpha", "beta alpha"}[i/3%2]
		session.Updated = at(100 - i)
		if i >= 6 && i%2 == 0 {
			session.ParentID = all[i/6].ID
		}
		mustSession(t, s, session)
		all = append(all, session)
	}
	for _, directory := range []string{"", "/a", "/a/b", "/a/", "/%"} {
		for _, roots := range []bool{false, true} {
			for _, parent := range []string{"", "ses_01", "ses_02", "ses_none"} {
				for _, search := range []string{"", "alpha", "BETA"} {
					for _, since := range []time.Time{{}, at(90), at(90).Add(time.Millisecond)} {
						for _, limit := range []int{0, 5} {
							f := store.SessionFilter{
								Directory: directory, Roots: roots, ParentID: parent, Search: search, UpdatedSince: since, Limit: limit,
							}
							got, err := s.Sessions(t.Context(), f)
							wantSame(t, fmt.Sprintf("Sessions(%+v)", f), selectSessions(all, f), got, err)
						}
					}
				}
			}
		}
	}
}

// selectSessions filters sessions that are in order already.
func selectSessions(all []store.Session, f store.SessionFilter) []store.Session {
	var out []store.Session
	for _, s := range all {
		if (f.Directory == "" || s.Directory == f.Directory) && (!f.Roots || s.ParentID == "") &&
			(f.ParentID == "" || s.ParentID == f.ParentID) && !s.Updated.Before(f.UpdatedSince) &&
			strings.Contains(strings.ToLower(s.Title), strings.ToLower(f.Search)) {
			out = append(out, s)
		}
	}
	if f.Limit > 0 && len(out) > f.Limit {
		out = out[:f.Limit]
	}
	return out
}

func testSessionSearch(t *testing.T, open func() store.Store) {
	s := open()
	titles := map[string]string{
		"ses_plain":   "fix the Parser",
		"ses_percent": "100% done",
		"ses_under":   "snake_case",
		"ses_back":    `C:\dir\file`,
		"ses_quote":   `it's "quoted"`,
		"ses_greek":   "ΟΔΥΣΣΕΥΣ και Έπος",
		"ses_umlaut":  "GRÜẞE ans Büro",
		"ses_empty":   "",
		"ses_zero":    "a\x00b",
	}
	for id, title := range titles {
		session := session(id)
		session.Title = title
		mustSession(t, s, session)
	}
	for search, want := range map[string][]string{
		"PARSER":                  {"ses_plain"},
		"fix the parser":          {"ses_plain"},
		"fix parser":              nil,
		"%":                       {"ses_percent"},
		"0% D":                    {"ses_percent"},
		"fix%parser":              nil,
		"_":                       {"ses_under"},
		"E_C":                     {"ses_under"},
		"snake.case":              nil,
		"snakescase":              nil,
		`\`:                       {"ses_back"},
		`\DIR\`:                   {"ses_back"},
		`\\`:                      nil,
		`\%`:                      nil,
		"'":                       {"ses_quote"},
		`"QUOTED"`:                {"ses_quote"},
		"' OR '1'='1":             nil,
		"*":                       nil,
		"[a-z]":                   nil,
		"οδυσσευς":                {"ses_greek"},
		"έπΟΣ":                    {"ses_greek"},
		"grüße":                   {"ses_umlaut"},
		"BÜRO":                    {"ses_umlaut"},
		"A\x00B":                  {"ses_zero"},
		strings.Repeat("x", 1e5):  nil,
		strings.Repeat("%_", 5e4): nil,
	} {
		got, err := s.Sessions(t.Context(), store.SessionFilter{Search: search})
		wantSame(t, fmt.Sprintf("Sessions with search %.40q", search), want, ids(got), err)
	}
	// A search sees the title as it is now.
	_, err := s.UpdateSession(t.Context(), "ses_plain", func(s *store.Session) error {
		s.Title = "renamed"
		return nil
	})
	if err != nil {
		t.Fatalf("UpdateSession: %v", err)
	}
	got, err := s.Sessions(t.Context(), store.SessionFilter{Search: "Parser"})
	wantSame(t, "Sessions with the old title", []string(nil), ids(got), err)
	got, err = s.Sessions(t.Context(), store.SessionFilter{Search: "RENAMED"})
	wantSame(t, "Sessions with the new title", []string{"ses_plain"}, ids(got), err)
}

func testSessionLimit(t *testing.T, open func() store.Store) {
	s := open()
	for i := range 5 {
		session := session(fmt.Sprintf("ses_%d", i))
		session.Updated = at(-i)
		mustSession(t, s, session)
	}
	all := []string{"ses_0", "ses_1", "ses_2", "ses_3", "ses_4"}
	for limit, want := range map[int][]string{0: all, 1: all[:1], 4: all[:4], 5: all, 6: all} {
		got, err := s.Sessions(t.Context(), store.SessionFilter{Limit: limit})
		wantSame(t, fmt.Sprintf("Sessions with limit %d", limit), want, ids(got), err)
	}
	if got, err := s.Sessions(t.Context(), store.SessionFilter{Limit: -1}); err == nil {
		t.Errorf("Sessions with limit -1 = %v, want an error", ids(got))
	}
}

func testSessionUpdate(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"), session("ses_2"))
	want := store.Session{
		ID: "ses_1", Slug: "s", ProjectID: "p", Directory: "/d", Title: "t", Agent: "a", Version: "v",
		Metadata: json.RawMessage(`{"x":1}`), Created: at(10), Updated: at(11), Archived: at(12),
	}
	got, err := s.UpdateSession(t.Context(), "ses_1", func(in *store.Session) error {
		wantSame(t, "what UpdateSession reads", session("ses_1"), *in, nil)
		*in = want
		// Kept in milliseconds, and returned as kept.
		in.Updated = in.Updated.Add(999 * time.Microsecond)
		return nil
	})
	wantSame(t, "UpdateSession", want, got, err)
	wantSession(t, s, want)
	wantSession(t, s, session("ses_2"))

	want.Archived, want.Metadata = time.Time{}, nil
	got, err = s.UpdateSession(t.Context(), "ses_1", func(in *store.Session) error {
		in.Archived, in.Metadata = time.Time{}, nil
		return nil
	})
	wantSame(t, "UpdateSession that empties", want, got, err)
	wantSession(t, s, want)
}

func testSessionUpdateFails(t *testing.T, open func() store.Store) {
	s := open()
	child := session("ses_child")
	child.ParentID = "ses_1"
	mustSession(t, s, session("ses_1"), session("ses_2"), child)
	for name, change := range map[string]func(*store.Session) error{
		"error":    func(s *store.Session) error { s.Title = "half"; return errStop },
		"id":       func(s *store.Session) error { s.ID = "ses_new"; return nil },
		"taken id": func(s *store.Session) error { s.ID = "ses_2"; return nil },
		"no id":    func(s *store.Session) error { s.ID = ""; return nil },
		"orphan":   func(s *store.Session) error { s.ParentID = ""; return nil },
		"adopted":  func(s *store.Session) error { s.ParentID = "ses_2"; return nil },
		"ring":     func(s *store.Session) error { s.ParentID = "ses_child"; return nil },
		"metadata": func(s *store.Session) error { s.Metadata = json.RawMessage("{"); return nil },
		"revert":   func(s *store.Session) error { s.Revert = json.RawMessage("{"); return nil },
	} {
		got, err := s.UpdateSession(t.Context(), "ses_child", change)
		if err == nil {
			t.Errorf("UpdateSession accepts a change of %s", name)
		}
		if name == "error" {
			wantErr(t, "UpdateSession", err, errStop)
		}
		wantSame(t, "the result beside the error", store.Session{}, got, nil)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("UpdateSession swallows a panic")
			}
		}()
		_, err := s.UpdateSession(t.Context(), "ses_child", func(s *store.Session) error {
			s.Title = "half"
			panic("in the change")
		})
		t.Errorf("UpdateSession = %v, want a panic", err)
	}()
	wantSession(t, s, child)
	// Nothing is left locked.
	if _, err := s.UpdateSession(t.Context(), "ses_child", func(*store.Session) error { return nil }); err != nil {
		t.Errorf("UpdateSession after all that: %v", err)
	}
	got, err := s.Sessions(t.Context(), store.SessionFilter{})
	wantSame(t, "Sessions", []string{"ses_1", "ses_2", "ses_child"}, ids(got), err)
}

func testSessionDelete(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"), session("ses_2"))
	got, err := s.DeleteSession(t.Context(), "ses_1")
	wantSame(t, "DeleteSession", []string{"ses_1"}, got, err)
	_, err = s.Session(t.Context(), "ses_1")
	wantErr(t, "Session after its deletion", err, store.ErrNotExist)
	_, err = s.DeleteSession(t.Context(), "ses_1")
	wantErr(t, "DeleteSession again", err, store.ErrNotExist)
	wantSession(t, s, session("ses_2"))
	// The id is free, and nothing of the old session is behind it.
	mustSession(t, s, session("ses_1"))
	wantMessages(t, s, "ses_1")
}

func testSessionDeleteCascades(t *testing.T, open func() store.Store) {
	s := open()
	parents := map[string]string{
		"ses_root": "", "ses_a": "ses_root", "ses_b": "ses_root", "ses_aa": "ses_a", "ses_other": "", "ses_otherchild": "ses_other",
	}
	for _, id := range []string{"ses_root", "ses_a", "ses_b", "ses_aa", "ses_other", "ses_otherchild"} {
		session := session(id)
		session.ParentID = parents[id]
		mustSession(t, s, session)
		mustPut(t, s, []store.Message{message(id, "msg_"+id)}, []store.Part{toolPart(id, "msg_"+id, "prt_"+id, "running")})
		mustAnswer(t, s, answer(id, "per_"+id), lease(id, "lea_"+id))
	}
	got, err := s.DeleteSession(t.Context(), "ses_root")
	slices.Sort(got)
	gone := []string{"ses_a", "ses_aa", "ses_b", "ses_root"}
	wantSame(t, "DeleteSession", gone, got, err)

	for _, id := range gone {
		_, err := s.Session(t.Context(), id)
		wantErr(t, "Session("+id+")", err, store.ErrNotExist)
		_, err = s.Messages(t.Context(), id, 0, "")
		wantErr(t, "Messages("+id+")", err, store.ErrNotExist)
		_, err = s.Message(t.Context(), id, "msg_"+id)
		wantErr(t, "Message("+id+")", err, store.ErrNotExist)
		wantAnswers(t, s, id)
		wantLeases(t, s, id, at(5))
		wantErr(t, "DeleteLease(lea_"+id+")", s.DeleteLease(t.Context(), "lea_"+id), store.ErrNotExist)
	}
	for _, id := range []string{"ses_other", "ses_otherchild"} {
		wantMessages(t, s, id, store.MessageParts{
			Message: message(id, "msg_"+id), Parts: []store.Part{toolPart(id, "msg_"+id, "prt_"+id, "running")},
		})
		wantAnswers(t, s, id, answer(id, "per_"+id))
		wantLeases(t, s, id, at(5), lease(id, "lea_"+id))
	}
	parts, err := s.PartsByStatus(t.Context(), "running")
	wantSame(t, "PartsByStatus", []string{"prt_ses_other", "prt_ses_otherchild"}, ids(parts), err)
	// Ids of what is gone are free again, also in another session.
	mustPut(t, s, []store.Message{message("ses_other", "msg_ses_a")}, []store.Part{part("ses_other", "msg_ses_a", "prt_ses_aa")})
	mustAnswer(t, s, answer("ses_other", "per_ses_b"), lease("ses_other", "lea_ses_root"))
}

// testSessionDeleteDeep deletes a chain that is deeper than databases let
// triggers and keys follow one another.
func testSessionDeleteDeep(t *testing.T, open func() store.Store) {
	const depth = 1200
	s := open()
	parent := ""
	for i := range depth {
		session := session(fmt.Sprintf("ses_%04d", i))
		session.ParentID = parent
		mustSession(t, s, session)
		parent = session.ID
	}
	got, err := s.DeleteSession(t.Context(), "ses_0000")
	if err != nil || len(got) != depth {
		t.Errorf("DeleteSession of a chain of %d sessions = %d ids, %v", depth, len(got), err)
	}
}
