package server

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/go-chi/chi/v5"

	"opencode/agent"
)

// Paths are directories of the user's, which clients show.
type Paths struct {
	Home   string
	State  string // of opencode
	Config string // of opencode
}

// pathBody is the answer of GET /path.
type pathBody struct {
	Home      string `json:"home"`
	State     string `json:"state"`
	Config    string `json:"config"`
	Worktree  string `json:"worktree"`
	Directory string `json:"directory"`
}

// place returns the directory that a request is about, and its project. The
// gate let no other directory pass than one in a project.
func (s *Server) place(r *http.Request) (dir, root string) {
	dir = cmp.Or(passedBy(r).directory, s.cfg.Directories[0])
	root, ok := s.cfg.Agent.Root(dir)
	if !ok {
		// A policy of the team's own may let another directory pass; nothing
		// is told of it.
		return s.cfg.Directories[0], s.cfg.Directories[0]
	}
	return dir, root
}

func (s *Server) getPath(w http.ResponseWriter, r *http.Request) error {
	dir, root := s.place(r)
	p := s.cfg.Paths
	s.encode(w, r, http.StatusOK, pathBody{Home: p.Home, State: p.State, Config: p.Config, Worktree: root, Directory: dir})
	return nil
}

// projectBody is a project as the published API shows it. Its times are those
// at which the server took it up.
type projectBody struct {
	ID        string      `json:"id"`
	Worktree  string      `json:"worktree"`
	VCS       string      `json:"vcs,omitempty"` // git
	Time      projectTime `json:"time"`
	Sandboxes []string    `json:"sandboxes"`
}

type projectTime struct {
	Created int64 `json:"created"`
	Updated int64 `json:"updated"`
}

func newProjectBody(root string, since time.Time) projectBody {
	b := projectBody{
		ID: agent.ProjectID(root), Worktree: root, Sandboxes: []string{},
		Time: projectTime{Created: since.UnixMilli(), Updated: since.UnixMilli()},
	}
	// In a linked work tree it is a file.
	if _, err := os.Lstat(filepath.Join(root, ".git")); err == nil {
		b.VCS = "git"
	}
	return b
}

func (s *Server) listProjects(w http.ResponseWriter, r *http.Request) error {
	list := []projectBody{}
	seen := map[string]bool{}
	for _, root := range s.cfg.Directories {
		if !seen[root] {
			seen[root] = true
			list = append(list, newProjectBody(root, s.started))
		}
	}
	s.encode(w, r, http.StatusOK, list)
	return nil
}

func (s *Server) getProject(w http.ResponseWriter, r *http.Request) error {
	_, root := s.place(r)
	s.encode(w, r, http.StatusOK, newProjectBody(root, s.started))
	return nil
}

// projectDirectory is one of the directories of a project.
type projectDirectory struct {
	Directory string `json:"directory"`
}

func (s *Server) listProjectDirectories(w http.ResponseWriter, r *http.Request) error {
	id := chi.URLParam(r, "projectID")
	for _, root := range s.cfg.Directories {
		if agent.ProjectID(root) == id {
			s.encode(w, r, http.StatusOK, []projectDirectory{{root}})
			return nil
		}
	}
	return fmt.Errorf("project %q: %w", id, errNotFound)
}
