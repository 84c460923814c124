package server

import (
	"cmp"
	"net/http"

	"opencode/agent/git"
)

// vcsBody is what git knows of a project; its members are left out if it is no
// repository or has no branch.
type vcsBody struct {
	Branch        string `json:"branch,omitempty"`
	DefaultBranch string `json:"default_branch,omitempty"`
}

func (s *Server) getVCS(w http.ResponseWriter, r *http.Request) error {
	var body vcsBody
	if s.cfg.Repositories != nil {
		head, err := s.cfg.Repositories.Head(r.Context(), s.directoryOf(r))
		if err != nil {
			return err
		}
		body = vcsBody{Branch: head.Branch, DefaultBranch: head.DefaultBranch}
	}
	s.encode(w, r, http.StatusOK, body)
	return nil
}

func (s *Server) fileStatus(w http.ResponseWriter, r *http.Request) error {
	list := []git.FileStatus{}
	if s.cfg.Repositories != nil {
		found, err := s.cfg.Repositories.Status(r.Context(), s.directoryOf(r))
		if err != nil {
			return err
		}
		list = append(list, found...)
	}
	s.encode(w, r, http.StatusOK, list)
	return nil
}

// directoryOf returns the directory that a request is about: the one that it
// names, or the server's first project.
func (s *Server) directoryOf(r *http.Request) string {
	return cmp.Or(passedBy(r).directory, s.cfg.Directories[0])
}
