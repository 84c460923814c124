package server

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode"

	"opencode/agent"
)

const (
	// textLimit is how many lines a search for text returns.
	textLimit = 10
	// How many names a search for names returns.
	nameLimit      = 10
	entryLimit     = 50
	maxNameLimit   = 200
	truncatedName  = "X-Opencode-Truncated"
	fileReadPrefix = "/api/fs/read/"
)

type fileNodeBody struct {
	Name     string `json:"name"`
	Path     string `json:"path"`
	Absolute string `json:"absolute"`
	Type     string `json:"type"`
	Ignored  bool   `json:"ignored"`
}

func (s *Server) listFiles(w http.ResponseWriter, r *http.Request) error {
	name, err := required(r, "path")
	if err != nil {
		return err
	}
	files, partial, err := s.cfg.Agent.ListFiles(r.Context(), passedBy(r).principal, passedBy(r).directory, name)
	if err != nil {
		return err
	}
	list := make([]fileNodeBody, 0, len(files))
	for _, f := range files {
		list = append(list, fileNodeBody{
			Name: f.Path[strings.LastIndexByte(f.Path, '/')+1:], Path: pathOf(f), Absolute: f.Absolute, Type: typeOf(f), Ignored: f.Ignored,
		})
	}
	tellPartial(w, partial)
	s.encode(w, r, http.StatusOK, list)
	return nil
}

type fileContentBody struct {
	Type     string `json:"type"`
	Content  string `json:"content"`
	Encoding string `json:"encoding,omitempty"`
	MimeType string `json:"mimeType,omitempty"`
}

func (s *Server) getFileContent(w http.ResponseWriter, r *http.Request) error {
	name, err := required(r, "path")
	if err != nil {
		return err
	}
	c, err := s.cfg.Agent.ReadFile(r.Context(), passedBy(r).principal, passedBy(r).directory, name)
	if err != nil {
		return err
	}
	// Clients are used to text without the space around it.
	body := fileContentBody{Type: "text", Content: strings.TrimFunc(string(c.Data), func(r rune) bool { return unicode.IsSpace(r) || r == 0xfeff })}
	if c.Binary {
		body = fileContentBody{Type: "binary", Content: base64.StdEncoding.EncodeToString(c.Data), Encoding: "base64", MimeType: c.MediaType}
	}
	s.encode(w, r, http.StatusOK, body)
	return nil
}

// getFileData answers with the data as they are. No browser takes them for a
// page: what is not a plain picture is text or data.
func (s *Server) getFileData(w http.ResponseWriter, r *http.Request) error {
	name := strings.TrimPrefix(r.URL.Path, fileReadPrefix)
	c, err := s.cfg.Agent.ReadFile(r.Context(), passedBy(r).principal, passedBy(r).directory, name)
	if err != nil {
		return err
	}
	media := "application/octet-stream"
	switch c.MediaType {
	case "image/png", "image/jpeg", "image/gif", "image/webp":
		media = c.MediaType
	default:
		if !c.Binary {
			media = "text/plain; charset=utf-8"
		}
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Length", strconv.Itoa(len(c.Data)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(c.Data)
	}
	return nil
}

type textBody struct {
	Text string `json:"text"`
}

type submatchBody struct {
	Match textBody `json:"match"`
	Start int      `json:"start"`
	End   int      `json:"end"`
}

type textMatchBody struct {
	Path           textBody       `json:"path"`
	Lines          textBody       `json:"lines"`
	LineNumber     int            `json:"line_number"`
	AbsoluteOffset int64          `json:"absolute_offset"`
	Submatches     []submatchBody `json:"submatches"`
}

func (s *Server) findText(w http.ResponseWriter, r *http.Request) error {
	pattern, err := required(r, "pattern")
	if err != nil {
		return err
	}
	matches, partial, err := s.cfg.Agent.FindText(r.Context(), passedBy(r).principal, passedBy(r).directory, pattern, textLimit)
	if err != nil {
		return err
	}
	list := make([]textMatchBody, 0, len(matches))
	for _, m := range matches {
		b := textMatchBody{Path: textBody{m.Path}, Lines: textBody{m.Text}, LineNumber: m.Number, AbsoluteOffset: m.Offset}
		for _, span := range m.Spans {
			b.Submatches = append(b.Submatches, submatchBody{textBody{m.Text[span.Start:span.End]}, span.Start, span.End})
		}
		list = append(list, b)
	}
	tellPartial(w, partial)
	s.encode(w, r, http.StatusOK, list)
	return nil
}

// fileQuery reads what is wanted of a search for names.
func fileQuery(r *http.Request) (agent.FileQuery, error) {
	q := agent.FileQuery{Files: true, Directories: true}
	var err error
	if q.Text, err = required(r, "query"); err != nil {
		return q, err
	}
	switch kind := r.URL.Query().Get("type"); kind {
	case "":
	case "file":
		q.Directories = false
	case "directory":
		q.Files = false
	default:
		return q, fmt.Errorf("type: %w: want file or directory", errBadRequest)
	}
	if q.Limit, err = count(r.URL.Query().Get("limit")); err != nil {
		return q, fmt.Errorf("limit: %w", err)
	}
	if q.Limit == 0 && r.URL.Query().Has("limit") {
		return q, fmt.Errorf("limit: %w: want at least 1", errBadRequest)
	}
	return q, nil
}

func (s *Server) findFiles(w http.ResponseWriter, r *http.Request) error {
	q, err := fileQuery(r)
	if err != nil {
		return err
	}
	typed := r.URL.Query().Get("type") != ""
	switch dirs := r.URL.Query().Get("dirs"); {
	case dirs != "" && dirs != "true" && dirs != "false":
		return fmt.Errorf("dirs: %w: want true or false", errBadRequest)
	case !typed && (dirs == "false" || q.Text == ""):
		// The first entries that a client shows are files.
		q.Directories = false
	}
	switch {
	case q.Limit == 0:
		q.Limit = nameLimit
	case q.Limit > maxNameLimit:
		return fmt.Errorf("limit: %w: want at most %d", errBadRequest, maxNameLimit)
	}
	files, partial, err := s.cfg.Agent.FindFiles(r.Context(), passedBy(r).principal, passedBy(r).directory, q)
	if err != nil {
		return err
	}
	list := make([]string, 0, len(files))
	for _, f := range files {
		list = append(list, pathOf(f))
	}
	tellPartial(w, partial)
	s.encode(w, r, http.StatusOK, list)
	return nil
}

// findSymbols finds nothing: there is no language server here.
func (s *Server) findSymbols(w http.ResponseWriter, r *http.Request) error {
	s.encode(w, r, http.StatusOK, []nothing{})
	return nil
}

type entryBody struct {
	Path string `json:"path"`
	Type string `json:"type"`
}

func (s *Server) findEntries(w http.ResponseWriter, r *http.Request) error {
	q, err := fileQuery(r)
	if err != nil {
		return err
	}
	if q.Limit == 0 {
		q.Limit = entryLimit
	}
	q.Limit = min(q.Limit, maxNameLimit)
	files, partial, err := s.cfg.Agent.FindFiles(r.Context(), passedBy(r).principal, passedBy(r).directory, q)
	if err != nil {
		return err
	}
	s.encodeEntries(w, r, files, partial)
	return nil
}

func (s *Server) listEntries(w http.ResponseWriter, r *http.Request) error {
	files, partial, err := s.cfg.Agent.ListFiles(r.Context(), passedBy(r).principal, passedBy(r).directory, r.URL.Query().Get("path"))
	if err != nil {
		return err
	}
	s.encodeEntries(w, r, files, partial)
	return nil
}

func (s *Server) encodeEntries(w http.ResponseWriter, r *http.Request, files []agent.File, partial bool) {
	body := locatedBody[entryBody]{Location: s.location(r), Data: make([]entryBody, 0, len(files))}
	for _, f := range files {
		body.Data = append(body.Data, entryBody{pathOf(f), typeOf(f)})
	}
	tellPartial(w, partial)
	s.encode(w, r, http.StatusOK, body)
}

// required returns a query parameter that must be there; it may be empty.
func required(r *http.Request, name string) (string, error) {
	q := r.URL.Query()
	if !q.Has(name) {
		return "", fmt.Errorf("%s: %w: is missing", name, errBadRequest)
	}
	return q.Get(name), nil
}

// tellPartial says that not everything was looked at.
func tellPartial(w http.ResponseWriter, partial bool) {
	if partial {
		w.Header().Set(truncatedName, "true")
	}
}

func typeOf(f agent.File) string {
	if f.IsDirectory {
		return "directory"
	}
	return "file"
}

// pathOf returns a path as clients know it: a directory ends in a slash.
func pathOf(f agent.File) string {
	if f.IsDirectory {
		return f.Path + "/"
	}
	return f.Path
}
