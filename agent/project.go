package agent

// ProjectID returns the id that sessions have for the project of a directory,
// which is one of [Config].Directories.
func ProjectID(root string) string { return projectID(root) }
