package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"opencode/agent"
	"opencode/agent/tool"
	"opencode/policy"
	"opencode/store"
)

// maxToolArgs is how much JSON a tool takes from standard input.
const maxToolArgs = 64 << 20

// toolOptions are the flags of tool.
type toolOptions struct {
	policy    policyFlags
	args      string
	directory string
	yes       bool
	asJSON    bool
}

func newToolCmd() *cobra.Command {
	var o toolOptions
	cmd := &cobra.Command{
		Use:   "tool [NAME --args JSON]",
		Short: "Run one tool of the agent, through policy",
		Long: `Run one tool of the agent, through policy, and print what it gives.

It runs in this process and needs no server. The policy decides as it would for
the agent. What it asks about is asked on the terminal; --yes answers yes, and
without a terminal the policy says what silence means: no, unless a team has
changed that. What it denies is denied. The exit code is 3 if the call was
denied or refused.

Without a name the tools are listed, with their arguments.`,
		Example: `  opencode tool
  opencode tool read --args '{"filePath": "go.mod", "limit": 5}'
  opencode tool edit --yes --args '{"filePath": "a.txt", "oldString": "one", "newString": "two"}'
  opencode tool write --args - < args.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				if cmd.Flags().Changed("args") {
					return usagef("--args without the name of a tool")
				}
				return listTools(cmd.OutOrStdout(), o.asJSON)
			}
			return runTool(cmd, args[0], o)
		},
	}
	f := cmd.Flags()
	o.policy.add(f)
	f.StringVar(&o.args, "args", "{}", "the arguments as a `JSON` object; - reads them from standard input")
	f.StringVar(&o.directory, "directory", "", "the project `DIR` (default: the current one)")
	f.BoolVar(&o.yes, "yes", false, "answer yes to what policy asks")
	jsonFlag(cmd, &o.asJSON)
	return cmd
}

func listTools(w io.Writer, asJSON bool) error {
	tools := agent.Tools()
	if asJSON {
		return printJSON(w, tools)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, info := range tools {
		fmt.Fprintf(t, "%s\t\t%s\n", info.Name, info.Description)
		for _, arg := range info.Args {
			need := "optional"
			if arg.Required {
				need = "required"
			}
			fmt.Fprintf(t, "  %s\t%s, %s\t%s\n", arg.Name, arg.Kind, need, arg.Description)
		}
	}
	return t.Flush()
}

// toolArgs reads the arguments of a call.
func toolArgs(text string, stdin io.Reader) (map[string]any, error) {
	if text == "-" {
		b, err := io.ReadAll(io.LimitReader(stdin, maxToolArgs+1))
		if err != nil {
			return nil, fmt.Errorf("arguments: %w", err)
		}
		if len(b) > maxToolArgs {
			return nil, usagef("--args: standard input has more than %d bytes", maxToolArgs)
		}
		text = string(b)
	}
	var args map[string]any
	if err := json.Unmarshal([]byte(text), &args); err != nil || args == nil {
		return nil, usagef("--args: want a JSON object, such as {\"filePath\": \"go.mod\"}")
	}
	return args, nil
}

func runTool(cmd *cobra.Command, name string, o toolOptions) (err error) {
	ctx := cmd.Context()
	args, err := toolArgs(o.args, cmd.InOrStdin())
	if err != nil {
		return err
	}
	dirs, err := projectDirs(nonEmpty(o.directory))
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	var closers closers
	defer func() { err = errors.Join(err, closers.close(logger)) }()
	a, err := toolAgent(ctx, o, dirs, logger, &closers)
	if err != nil {
		return err
	}
	person := policy.Principal{
		Kind: policy.PrincipalLocal, ID: "local", Name: "local", Permissions: []string{"read", "write", "execute"},
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asker := &asker{agent: a, principal: person, yes: o.yes, stderr: cmd.ErrOrStderr(), cancel: cancel}
	if in := cmd.InOrStdin(); o.args != "-" && isTerminal(in) {
		asker.in = bufio.NewReader(in)
	}
	input := agent.ToolInput{Directory: dirs[0], Name: name, Args: args, Attended: o.yes || asker.in != nil}
	stop := func() {}
	if input.Attended {
		stop = asker.start(context.WithoutCancel(ctx), dirs[0])
	}
	r, err := a.RunTool(ctx, person, input)
	stop()
	switch {
	case asker.failed != nil:
		return asker.failed
	case errors.Is(err, agent.ErrInvalid) && !errors.Is(err, policy.ErrDenied) && isUnknown(name):
		return &usageError{withHint(err, "`opencode tool` lists the tools")}
	case errors.Is(err, agent.ErrRefused) && !input.Attended:
		return withHint(err, "there is no terminal to ask on; --yes answers yes")
	case err != nil:
		return err
	}
	if o.asJSON {
		err = printJSON(cmd.OutOrStdout(), r)
	} else {
		fmt.Fprint(cmd.OutOrStdout(), r.Output)
		if r.Output != "" && !strings.HasSuffix(r.Output, "\n") {
			fmt.Fprintln(cmd.OutOrStdout())
		}
	}
	if code, ok := r.Metadata["exit"].(int); ok && code != 0 {
		err = errors.Join(err, fmt.Errorf("the command ended with exit code %d", code))
	}
	return err
}

func isUnknown(name string) bool {
	for _, info := range agent.Tools() {
		if info.Name == name {
			return false
		}
	}
	return true
}

// toolAgent returns an agent of this process. Its decisions are recorded where
// those of a server are.
func toolAgent(ctx context.Context, o toolOptions, dirs []string, logger *slog.Logger, closers *closers) (*agent.Agent, error) {
	e, err := o.policy.engine(ctx)
	if err != nil {
		return nil, err
	}
	db, _, err := openDatabase(ctx, logger, closers)
	if err != nil {
		return nil, err
	}
	ids := store.NewIDs(nil, nil)
	recorder := agent.NewRecorder(db, logger)
	closers.add("recorder", recorder.Close)
	redactor, err := newRedactor(os.Environ, logger)
	if err != nil {
		return nil, err
	}
	gate, err := agent.NewGate(agent.GateConfig{Decider: e, Recorder: recorder, IDs: ids, Redactor: redactor, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	box, err := newSandbox(o.policy.paths()...)
	if err != nil {
		return nil, err
	}
	closers.add("sandbox", func(context.Context) error { return box.Close() })
	processes, err := tool.NewProcesses(logger)
	if err != nil {
		return nil, err
	}
	closers.add("processes", processes.Close)
	bash, err := tool.NewBash(tool.BashConfig{Procs: processes, Redactor: redactor, Logger: logger})
	if err != nil {
		return nil, err
	}
	a, err := agent.New(ctx, agent.Config{
		Store: db, Gate: gate, Bash: bash, Sandbox: box, IDs: ids, Directories: dirs, Version: version, Redactor: redactor, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	closers.add("agent", a.Close)
	return a, nil
}

// asker answers the questions of a call: with yes if that was said before, or
// by asking the person at the terminal.
type asker struct {
	agent     *agent.Agent
	principal policy.Principal
	yes       bool
	in        *bufio.Reader // nil without a terminal: then yes must be true, or it is not started
	stderr    io.Writer
	failed    error              // why an answer did not count, read after stop
	cancel    context.CancelFunc // ends the call
}

// start answers questions until the function that it returns is called.
func (k *asker) start(ctx context.Context, directory string) (stop func()) {
	sub := k.agent.Subscribe(k.principal, directory)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			events, ok := sub.Take()
			sub.Delivered()
			for _, e := range events {
				if e.Type == "permission.asked" {
					k.answer(ctx, e.Properties)
				}
			}
			if !ok {
				return
			}
			select {
			case <-sub.Ready():
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		sub.Close()
		<-done
	}
}

func (k *asker) answer(ctx context.Context, properties json.RawMessage) {
	var q agent.Permission
	if err := json.Unmarshal(properties, &q); err != nil {
		return // the question ends by its time, and that is no yes
	}
	reply := agent.Reject
	if k.yes || k.ask(ctx, q) {
		reply = agent.Once
	}
	if err := k.agent.Answer(ctx, k.principal, q.SessionID, q.ID, reply, ""); err != nil && ctx.Err() == nil {
		// Nobody else can answer: the call must not wait for it.
		k.failed = err
		k.cancel()
	}
}

// ask puts a question on the terminal. It returns true if the answer is yes.
func (k *asker) ask(ctx context.Context, q agent.Permission) bool {
	if diff, _ := q.Metadata["diff"].(string); diff != "" {
		for line := range strings.Lines(diff) {
			fmt.Fprintln(k.stderr, printable(strings.TrimRight(line, "\r\n")))
		}
	}
	reason, _ := q.Metadata["reason"].(string)
	fmt.Fprintf(k.stderr, "%s\nallow %s %s? [y/N] ", printable(reason), printable(q.Permission), printable(strings.Join(q.Patterns, "; ")))
	line := make(chan string, 1)
	// Reading from a terminal cannot be ended. When the question has, the
	// program ends as well.
	go func() {
		text, _ := k.in.ReadString('\n') // the end is no yes
		line <- text
	}()
	select {
	case text := <-line:
		answer := strings.ToLower(strings.TrimSpace(text))
		return answer == "y" || answer == "yes"
	case <-ctx.Done():
		fmt.Fprintln(k.stderr)
		return false
	}
}

// isTerminal reports whether somebody types what is read.
func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	return err == nil
}
