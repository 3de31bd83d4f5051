package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ort-gateway/ort-gateway/ortengine/seal"
)

// Exit codes.
const (
	exitGood   = 0
	exitFailed = 1 // what only trying shows
	exitUsage  = 2 // a wrong setting or command line
)

const usage = `ort-gateway hands out online refresh tokens in front of an identity provider.

  ort-gateway           serve, with the settings of the environment
  ort-gateway check     look at the upstream, the store and the keys, and print what works and what to change;
                        it changes nothing; --json for programs; exit code 1 where something does not work
  ort-gateway env       print all settings, their defaults and meaning (Markdown)
  ort-gateway keys      print a new sealing key for ORT_SEALING_KEYS
  ort-gateway ready     ask the running gateway whether it is ready: exit code 0 or 1
  ort-gateway sessions  list, show and end the sessions of the running gateway, back its store up, or move them to
                        another store; sessions help prints how
  ort-gateway version   print version, revision and Go version
  ort-gateway help      print this

Settings come from the environment alone; ORT_ISSUER and ORT_UPSTREAM_URL are required.
`

// process is what a command may use of the world.
type process struct {
	environ        []string
	args           []string // after the command's name
	stdout, stderr io.Writer
}

// fail prints err on one line.
func (p process) fail(err error) int {
	fmt.Fprintln(p.stderr, "ort-gateway: "+strings.ReplaceAll(err.Error(), "\n", "; "))
	return exitFailed
}

// commands is every subcommand.
var commands = map[string]func(context.Context, process) int{
	"":         runServe,
	"check":    runCheck,
	"env":      runEnv,
	"keys":     runKeys,
	"ready":    runReady,
	"sessions": runSessions,
	"version":  runVersion,
	"help":     runHelp,
	"-h":       runHelp,
	"--help":   runHelp,
}

// Run is the program: args without the program's name, environ as os.Environ gives it. It serves until ctx ends or the
// process gets SIGTERM or SIGINT, and returns the exit code.
func Run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	p := process{environ: environ, stdout: stdout, stderr: stderr}
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	command, known := commands[name]
	switch {
	case !known || len(args) > 0 && name == "":
		fmt.Fprintf(stderr, "ort-gateway: unknown command %s\n\n%s", quoted(name), usage)
		return exitUsage
	case len(args) > 1 && name != "check" && name != "sessions":
		fmt.Fprintf(stderr, "ort-gateway: %s takes no arguments\n\n%s", name, usage)
		return exitUsage
	}
	p.args = args[min(1, len(args)):]
	return command(ctx, p)
}

func runHelp(_ context.Context, p process) int {
	fmt.Fprint(p.stdout, usage)
	return exitGood
}

// runServe reads the settings and serves.
func runServe(ctx context.Context, p process) int {
	settings, warnings, err := Load(p.environ, checkSealingKeys)
	if err != nil {
		for _, w := range warnings {
			fmt.Fprintln(p.stderr, "warning: "+w.String())
		}
		fmt.Fprintln(p.stderr, err.Error())
		return exitUsage
	}
	log := newLogger(p.stderr, settings)
	defer redirectStandardLogger(log)()
	for _, w := range warnings {
		log.Warn("setting", "variable", w.Variable, "warning", w.Text)
	}
	ctx, hurry, stop := withSignals(ctx)
	defer stop()
	err = serve(ctx, settings, log, hurry)
	if err != nil && !(ctx.Err() != nil && errors.Is(err, context.Canceled)) { // a signal during the start is no fault
		return p.fail(err)
	}
	return exitGood
}

func checkSealingKeys(keys string) error {
	_, err := seal.ParseKeys(keys)
	return err
}
