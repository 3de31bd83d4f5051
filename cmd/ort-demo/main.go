package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the OpenID Provider library logs there, and there alone
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program: 0 when it ended as asked, 1 when something did not work
// or the walkthrough found a fault, 2 for a wrong command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("ort-demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	walkthrough := flags.Bool("walkthrough", false, "try everything without a browser, print each step, and exit")
	flags.DurationVar(&o.idle, "idle", 2*time.Minute, "end a session after this `time` without use")
	flags.DurationVar(&o.absolute, "absolute", 10*time.Minute, "end a session after this `time` in any case")
	flags.StringVar(&o.data, "data", "", "keep the gateway's database in this `directory` (default: a temporary one)")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "ort-demo: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	// A demo that somebody else looks at must not be stopped by a walkthrough
	// beside it: only the page has fixed ports.
	o.fixedPorts = !*walkthrough
	w, err := startWorld(ctx, o)
	if err != nil {
		fmt.Fprintf(stderr, "ort-demo: %v\n", err)
		return 1
	}
	defer w.close()
	if *walkthrough {
		return walk(ctx, w, stdout)
	}
	w.welcome(stdout)
	select {
	case <-ctx.Done():
		fmt.Fprintln(stdout, "\nEnding.")
		return 0
	case <-w.gateway.done:
		fmt.Fprintf(stderr, "ort-demo: the gateway has ended by itself:\n%s", w.panel.tail(10))
		return 1
	}
}

// welcome prints the one address to open, and who can log in.
func (w *world) welcome(out io.Writer) {
	fmt.Fprintf(out, `
  ort-gateway demo

    Open      %s
    Log in    alice, password alice-pass    or    bob, password bob-pass

    A session ends after %s without use, after %s in any case.
    Also here: the second app %s
               gateway        %s
               its metrics    %s/metrics
               identity provider behind it %s

  Ctrl-C ends it.

`, w.apps[0].origin, w.options.idle, w.options.absolute, w.apps[1].origin, w.origin, w.admin, w.idpURL)
}
