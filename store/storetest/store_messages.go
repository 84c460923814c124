package storetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"opencode/store"
)

func messageTests() map[string]func(t *testing.T, open func() store.Store) {
	return map[string]func(t *testing.T, open func() store.Store){
		"message round trip":       testMessageRoundTrip,
		"message order":            testMessageOrder,
		"message pages":            testMessagePages,
		"message replaced":         testMessageReplaced,
		"message missing":          testMessageMissing,
		"message put without":      testMessagePutWithout,
		"message of others":        testMessageOfOthers,
		"message all or nothing":   testMessageAtomic,
		"message malformed":        testMessageMalformed,
		"message big":              testMessageBig,
		"message delete":           testMessageDelete,
		"parts by status":          testPartsByStatus,
		"parts by status, hostile": testPartsByStatusHostile,
	}
}

func testMessageRoundTrip(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"), session("ses_2"))
	wantMessages(t, s, "ses_1")
	m := store.Message{
		ID: "msg_1", SessionID: "ses_1", Role: "assistant", Created: at(7),
		Body: json.RawMessage(` {"b":1.50, "a":"<é\u0000 '\"%>", "a":{"n":[]}, "deep":[[[{}]]]}` + "\n"),
	}
	p := part("ses_1", "msg_1", "prt_1")
	p.Type = "text'"
	mustPut(t, s, []store.Message{m}, []store.Part{p})
	for _, h := range []store.Store{s, open()} {
		got, err := h.Message(t.Context(), "ses_1", "msg_1")
		want := store.MessageParts{Message: m, Parts: []store.Part{p}}
		wantSame(t, "Message", want, got, err)
		wantMessages(t, h, "ses_1", want)
		wantMessages(t, h, "ses_2")
	}
	// Putting a message is no update of its session: that is the caller's.
	wantSession(t, s, session("ses_1"))
	if err := s.PutMessage(t.Context(), nil, nil); err != nil {
		t.Errorf("PutMessage of nothing: %v", err)
	}
}

func testMessageOrder(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"), session("ses_2"))
	// Put in another order than the ids have, with parts in one call and in
	// many, and one message without any.
	mustPut(t, s, []store.Message{message("ses_1", "msg_c"), message("ses_1", "msg_a")}, []store.Part{
		part("ses_1", "msg_c", "prt_2"), part("ses_1", "msg_a", "prt_9"), part("ses_1", "msg_c", "prt_1"),
	})
	mustPut(t, s, []store.Message{message("ses_1", "msg_b")}, nil)
	mustPut(t, s, []store.Message{message("ses_2", "msg_ab")}, []store.Part{part("ses_2", "msg_ab", "prt_ab")})
	mustPut(t, s, nil, []store.Part{part("ses_1", "msg_a", "prt_5"), part("ses_1", "msg_c", "prt_10")})
	wantMessages(
		t, s, "ses_1",
		store.MessageParts{Message: message("ses_1", "msg_a"), Parts: []store.Part{
			part("ses_1", "msg_a", "prt_5"), part("ses_1", "msg_a", "prt_9"),
		}},
		store.MessageParts{Message: message("ses_1", "msg_b")},
		store.MessageParts{Message: message("ses_1", "msg_c"), Parts: []store.Part{
			part("ses_1", "msg_c", "prt_1"), part("ses_1", "msg_c", "prt_10"), part("ses_1", "msg_c", "prt_2"),
		}},
	)
}

func testMessagePages(t *testing.T, open func() store.Store) {
	const n = 10
	s := open()
	mustSession(t, s, session("ses_1"), session("ses_2"), session("ses_empty"))
	var all []store.MessageParts
	for i := range n {
		m := message("ses_1", fmt.Sprintf("msg_%02d", 2*i))
		p := part("ses_1", m.ID, fmt.Sprintf("prt_%02d", i))
		mustPut(t, s, []store.Message{m}, []store.Part{p})
		mustPut(t, s, []store.Message{message("ses_2", fmt.Sprintf("msg_%02d", 2*i+1))}, nil)
		all = append(all, store.MessageParts{Message: m, Parts: []store.Part{p}})
	}
	for limit := range n + 3 {
		// Every message of the session, one of the other session, one that
		// does not exist, and ends beyond both.
		for _, before := range []string{"", "a", "msg_00", "msg_01", "msg_08", "msg_09", "msg_18", "msg_99", "msg_", "z", "%"} {
			var want []store.MessageParts
			for _, m := range all {
				if before == "" || m.Message.ID < before {
					want = append(want, m)
				}
			}
			if limit > 0 && len(want) > limit {
				want = want[len(want)-limit:]
			}
			got, err := s.Messages(t.Context(), "ses_1", limit, before)
			wantSame(t, fmt.Sprintf("Messages with limit %d before %q", limit, before), want, got, err)
		}
	}
	// Paging back meets each message once.
	var paged []string
	before := ""
	for range n {
		page, err := s.Messages(t.Context(), "ses_1", 3, before)
		if err != nil {
			t.Fatalf("Messages before %q: %v", before, err)
		}
		if len(page) == 0 {
			break
		}
		before = page[0].Message.ID
		paged = append(ids(page), paged...)
	}
	wantSame(t, "the pages together", ids(all), paged, nil)

	got, err := s.Messages(t.Context(), "ses_empty", 5, "msg_05")
	wantSame(t, "Messages of an empty session", []store.MessageParts{}, got, err)
	if got, err := s.Messages(t.Context(), "ses_1", -1, ""); err == nil {
		t.Errorf("Messages with limit -1 = %v, want an error", ids(got))
	}
}

func testMessageReplaced(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"))
	mustPut(t, s, []store.Message{message("ses_1", "msg_1"), message("ses_1", "msg_2")}, []store.Part{
		part("ses_1", "msg_1", "prt_1"), part("ses_1", "msg_1", "prt_2"), toolPart("ses_1", "msg_2", "prt_3", "running"),
	})
	m := message("ses_1", "msg_1")
	m.Role, m.Created, m.Body = "assistant", at(50), object("new", "body")
	p := toolPart("ses_1", "msg_1", "prt_1", "pending")
	mustPut(t, s, []store.Message{m}, []store.Part{p})
	// Of two with one id in a call, the later counts.
	last := toolPart("ses_1", "msg_2", "prt_3", "completed")
	mustPut(t, s, nil, []store.Part{toolPart("ses_1", "msg_2", "prt_3", "error"), last})
	want := []store.MessageParts{
		{Message: m, Parts: []store.Part{p, part("ses_1", "msg_1", "prt_2")}},
		{Message: message("ses_1", "msg_2"), Parts: []store.Part{last}},
	}
	wantMessages(t, s, "ses_1", want...)
	wantMessages(t, open(), "ses_1", want...)
	got, err := s.PartsByStatus(t.Context(), "pending", "running", "error")
	wantSame(t, "PartsByStatus", []store.Part{p}, got, err)
}

func testMessageMissing(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"), session("ses_2"))
	mustPut(t, s, []store.Message{message("ses_1", "msg_1")}, nil)
	for _, key := range [][2]string{{"ses_1", "msg_2"}, {"ses_2", "msg_1"}, {"ses_3", "msg_1"}, {"", "msg_1"}, {"ses_1", ""}, {"%", "%"}} {
		got, err := s.Message(t.Context(), key[0], key[1])
		wantErr(t, fmt.Sprintf("Message(%q, %q)", key[0], key[1]), err, store.ErrNotExist)
		wantSame(t, "the result beside the error", store.MessageParts{}, got, nil)
	}
	for _, id := range []string{"ses_3", "", "%"} {
		for _, before := range []string{"", "msg_9"} {
			got, err := s.Messages(t.Context(), id, 0, before)
			wantErr(t, fmt.Sprintf("Messages(%q) before %q", id, before), err, store.ErrNotExist)
			wantSame(t, "the result beside the error", []store.MessageParts{}, got, nil)
		}
	}
}

func testMessagePutWithout(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"), session("ses_2"))
	mustPut(t, s, []store.Message{message("ses_2", "msg_2")}, nil)
	for name, put := range map[string]struct {
		m []store.Message
		p []store.Part
	}{
		"session":                 {m: []store.Message{message("ses_3", "msg_1")}},
		"session name":            {m: []store.Message{message("", "msg_1")}},
		"message":                 {p: []store.Part{part("ses_1", "msg_1", "prt_1")}},
		"message in this session": {p: []store.Part{part("ses_1", "msg_2", "prt_1")}},
		"message name":            {p: []store.Part{part("ses_1", "", "prt_1")}},
		"session of the part":     {p: []store.Part{part("ses_3", "msg_2", "prt_1")}},
		"the part's own message": {
			m: []store.Message{message("ses_1", "msg_1")},
			p: []store.Part{part("ses_1", "msg_3", "prt_1")},
		},
	} {
		wantErr(t, "PutMessage without "+name, s.PutMessage(t.Context(), put.m, put.p), store.ErrNotExist)
	}
	wantMessages(t, s, "ses_1")
	wantMessages(t, s, "ses_2", store.MessageParts{Message: message("ses_2", "msg_2")})
}

// testMessageOfOthers takes the ids of what is elsewhere, as a client may.
func testMessageOfOthers(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_mine"), session("ses_other"))
	other := store.MessageParts{
		Message: message("ses_other", "msg_other"), Parts: []store.Part{toolPart("ses_other", "msg_other", "prt_other", "running")},
	}
	mustPut(t, s, []store.Message{other.Message}, other.Parts)
	mine := store.MessageParts{
		Message: message("ses_mine", "msg_mine"), Parts: []store.Part{part("ses_mine", "msg_mine", "prt_mine")},
	}
	mustPut(t, s, []store.Message{mine.Message, message("ses_mine", "msg_mine2")}, mine.Parts)

	for name, put := range map[string]struct {
		m []store.Message
		p []store.Part
	}{
		"message":                       {m: []store.Message{message("ses_mine", "msg_other")}},
		"part":                          {p: []store.Part{part("ses_mine", "msg_mine", "prt_other")}},
		"part in another message of it": {p: []store.Part{part("ses_mine", "msg_mine2", "prt_mine")}},
		"message and its part": {
			m: []store.Message{message("ses_mine", "msg_other")},
			p: []store.Part{toolPart("ses_mine", "msg_other", "prt_other", "completed")},
		},
		"part, after one that is fine": {
			m: []store.Message{message("ses_mine", "msg_new")},
			p: []store.Part{part("ses_mine", "msg_new", "prt_new"), part("ses_mine", "msg_new", "prt_other")},
		},
	} {
		wantErr(t, "PutMessage with a taken id: "+name, s.PutMessage(t.Context(), put.m, put.p), store.ErrExist)
	}
	wantMessages(t, s, "ses_other", other)
	wantMessages(t, s, "ses_mine", mine, store.MessageParts{Message: message("ses_mine", "msg_mine2")})
	got, err := s.PartsByStatus(t.Context(), "running", "completed")
	wantSame(t, "PartsByStatus", other.Parts, got, err)
}

func testMessageAtomic(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"))
	before := store.MessageParts{Message: message("ses_1", "msg_1"), Parts: []store.Part{part("ses_1", "msg_1", "prt_1")}}
	mustPut(t, s, []store.Message{before.Message}, before.Parts)
	changed := message("ses_1", "msg_1")
	changed.Body = object("half", "done")
	changedPart := toolPart("ses_1", "msg_1", "prt_1", "running")
	for name, put := range map[string]struct {
		m []store.Message
		p []store.Part
	}{
		"a later message's session": {
			m: []store.Message{changed, message("ses_1", "msg_2"), message("ses_none", "msg_3")},
		},
		"a part's message": {
			m: []store.Message{changed, message("ses_1", "msg_2")},
			p: []store.Part{changedPart, part("ses_1", "msg_none", "prt_2")},
		},
		"a part's body": {
			m: []store.Message{changed},
			p: []store.Part{changedPart, {ID: "prt_2", MessageID: "msg_1", SessionID: "ses_1", Body: json.RawMessage("{")}},
		},
	} {
		if err := s.PutMessage(t.Context(), put.m, put.p); err == nil {
			t.Errorf("PutMessage accepts what is wrong in %s", name)
		}
		wantMessages(t, s, "ses_1", before)
	}
	wantMessages(t, open(), "ses_1", before)
}

func testMessageMalformed(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"))
	mustPut(t, s, []store.Message{message("ses_1", "msg_1")}, nil)
	for _, body := range []string{"", " ", "{", `{"a":1,}`, `{"a":1} {}`, "[]", `"text"`, "null", "1", "{\"a\":\"\x00\"}", "{'a':1}", "\ufeff{}"} {
		m := message("ses_1", "msg_2")
		m.Body = json.RawMessage(body)
		if err := s.PutMessage(t.Context(), []store.Message{m}, nil); err == nil {
			t.Errorf("PutMessage accepts a message with the body %q", body)
		}
		for _, kind := range []string{"text", "tool"} {
			p := part("ses_1", "msg_1", "prt_1")
			p.Type, p.Body = kind, json.RawMessage(body)
			if err := s.PutMessage(t.Context(), nil, []store.Part{p}); err == nil {
				t.Errorf("PutMessage accepts a %s part with the body %q", kind, body)
			}
		}
	}
	if err := s.PutMessage(t.Context(), []store.Message{message("ses_1", "")}, nil); err == nil {
		t.Error("PutMessage accepts a message without an id")
	}
	if err := s.PutMessage(t.Context(), nil, []store.Part{part("ses_1", "msg_1", "")}); err == nil {
		t.Error("PutMessage accepts a part without an id")
	}
	wantMessages(t, s, "ses_1", store.MessageParts{Message: message("ses_1", "msg_1")})
}

func testMessageBig(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"))
	big := object("text", strings.Repeat("0123456789abcdef", 5<<20/16))
	m := message("ses_1", "msg_1")
	m.Body = big
	p := toolPart("ses_1", "msg_1", "prt_1", "running")
	p.Body = append(bytes.TrimSuffix(p.Body, []byte("}")), `,"output":`...)
	p.Body = append(append(p.Body, big...), '}')
	mustPut(t, s, []store.Message{m}, []store.Part{p})
	got, err := open().Message(t.Context(), "ses_1", "msg_1")
	if err != nil {
		t.Fatalf("Message: %v", err)
	}
	if len(got.Parts) != 1 || !bytes.Equal(got.Message.Body, m.Body) || !bytes.Equal(got.Parts[0].Body, p.Body) {
		t.Errorf("a body of %d bytes comes back as %d bytes with %d parts", len(m.Body), len(got.Message.Body), len(got.Parts))
	}
	parts, err := s.PartsByStatus(t.Context(), "running")
	if err != nil || len(parts) != 1 || !bytes.Equal(parts[0].Body, p.Body) {
		t.Errorf("PartsByStatus = %d parts, %v, want the big one", len(parts), err)
	}
}

func testPartsByStatus(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"), session("ses_2"))
	mustPut(t, s, []store.Message{message("ses_1", "msg_1"), message("ses_2", "msg_2")}, []store.Part{
		toolPart("ses_1", "msg_1", "prt_1", "running"),
		toolPart("ses_1", "msg_1", "prt_2", "completed"),
		toolPart("ses_2", "msg_2", "prt_3", "pending"),
		toolPart("ses_2", "msg_2", "prt_4", "running"),
		toolPart("ses_2", "msg_2", "prt_5", ""),
		part("ses_2", "msg_2", "prt_6"),
	})
	text := toolPart("ses_2", "msg_2", "prt_7", "running")
	text.Type = "text"
	mustPut(t, s, nil, []store.Part{text})
	for _, row := range []struct{ status, want []string }{
		{[]string{"running"}, []string{"prt_1", "prt_4"}},
		{[]string{"pending", "running"}, []string{"prt_1", "prt_3", "prt_4"}},
		{[]string{"running", "running"}, []string{"prt_1", "prt_4"}},
		{[]string{"completed", "none"}, []string{"prt_2"}},
		{[]string{"Running"}, nil},
		{[]string{"%"}, nil},
		{[]string{`"running"`}, nil},
		{[]string{"' OR '1'='1"}, nil},
		{nil, nil},
	} {
		got, err := s.PartsByStatus(t.Context(), row.status...)
		wantSame(t, fmt.Sprintf("PartsByStatus(%q)", row.status), row.want, ids(got), err)
	}
	got, err := open().PartsByStatus(t.Context(), "pending")
	wantSame(t, "PartsByStatus(pending)", []store.Part{toolPart("ses_2", "msg_2", "prt_3", "pending")}, got, err)
}

// testPartsByStatusHostile keeps bodies that a model or a client may have
// shaped. None may hide the others.
func testPartsByStatusHostile(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"))
	mustPut(t, s, []store.Message{message("ses_1", "msg_1")}, nil)
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	for i, body := range []string{
		`{}`,
		`{"state":null}`,
		`{"state":"running"}`,
		`{"state":["running"]}`,
		`{"state":{"status":null}}`,
		`{"state":{"status":["running"]}}`,
		`{"state":{"status":{"status":"running"}}}`,
		`{"status":"running"}`,
		`{"State":{"Status":"running"}}`,
		`{"state.status":"running"}`,
		`{"state":{"input":` + deep + `,"status":"completed"}}`,
		`{"state":{"input":` + deep + `,"status":"running"}}`,
		"{\"state\":{\"input\":\"\xff\xfe\",\"status\":\"running\"}}",
		`{"state":{"status":"running"},"\u0000":1}`,
	} {
		p := toolPart("ses_1", "msg_1", fmt.Sprintf("prt_%02d", i), "")
		p.Body = json.RawMessage(body)
		mustPut(t, s, nil, []store.Part{p})
	}
	got, err := s.PartsByStatus(t.Context(), "running")
	wantSame(t, "PartsByStatus", []string{"prt_11", "prt_12", "prt_13"}, ids(got), err)
	all, err := s.Messages(t.Context(), "ses_1", 0, "")
	if err != nil || len(all) != 1 || len(all[0].Parts) != 14 {
		t.Errorf("Messages = %v, %v, want one with 14 parts", ids(all), err)
	}
}

func testMessageDelete(t *testing.T, open func() store.Store) {
	s := open()
	mustSession(t, s, session("ses_1"), session("ses_2"))
	for _, id := range []string{"msg_a", "msg_b", "msg_c"} {
		mustPut(t, s, []store.Message{message("ses_1", id)}, []store.Part{part("ses_1", id, "prt_"+id)})
	}
	mustPut(t, s, []store.Message{message("ses_2", "msg_z")}, nil)
	keep := func(id string) store.MessageParts {
		return store.MessageParts{Message: message("ses_1", id), Parts: []store.Part{part("ses_1", id, "prt_"+id)}}
	}
	if err := s.DeleteMessages(t.Context(), "ses_1"); err != nil {
		t.Errorf("DeleteMessages of nothing: %v", err)
	}
	for _, ids := range [][]string{{"msg_b", "msg_none"}, {"msg_z"}, {"msg_b", "msg_b"}, {""}, {"%"}} {
		wantErr(t, fmt.Sprintf("DeleteMessages(%q)", ids), s.DeleteMessages(t.Context(), "ses_1", ids...), store.ErrNotExist)
	}
	wantMessages(t, s, "ses_1", keep("msg_a"), keep("msg_b"), keep("msg_c"))
	if err := s.DeleteMessages(t.Context(), "ses_1", "msg_b", "msg_c"); err != nil {
		t.Errorf("DeleteMessages: %v", err)
	}
	for _, h := range []store.Store{s, open()} {
		wantMessages(t, h, "ses_1", keep("msg_a"))
	}
	// The ids are free, and nothing of the old messages is behind them.
	mustPut(t, s, []store.Message{message("ses_1", "msg_b")}, nil)
	wantMessages(t, s, "ses_1", keep("msg_a"), store.MessageParts{Message: message("ses_1", "msg_b")})
}
