// Command posta-store looks after a folder in which mail is kept.
//
//	posta-store check   -store DIR
//	posta-store repair  -store DIR
//	posta-store backup  -store DIR -to BACKUP
//	posta-store restore -store DIR -from BACKUP [-exact]
//	posta-store stat    -store DIR [-account NAME]
//	posta-store export  -store DIR -account NAME (-mbox DIR | -maildir DIR | -imap URL)
//	posta-store import  -store DIR -account NAME (-mbox PATH | -maildir DIR | -imap URL | -from DIR -from-account NAME)
//
// Check, backup, stat and export only read, and may be used while a server has
// the store open. Repair, restore and import need it for themselves: when it
// is in use, they say so.
//
// Export and import take -checkpoint FILE, a file in which they remember what
// has been done: the same command goes on there after it was interrupted, and
// nothing is there twice. -mailbox NAME copies one mailbox only; with import it
// names the mailbox that a single mbox file becomes. -create makes the account.
//
// An IMAP URL is imaps://USER@HOST[:PORT][/PREFIX], or imap://…, which uses
// STARTTLS, or no TLS at all with -insecure. PREFIX is what stands before the
// names of all mailboxes there but INBOX, as in "INBOX.". The password is the
// first line of the file -password-file, or in the environment's
// POSTA_IMAP_PASSWORD, and nowhere else.
//
// Every command takes -engine, what made the folder: sqlite, or maildir. The
// latter's folders may be open anywhere for everything but restore; opening
// mends its indexes, so that repair only names what cannot be mended; backup
// copies the mail into an empty folder, where UIDs are given anew.
//
// Every command takes -json: a line of JSON for each thing that is told, on
// standard output. Without it text is written there, and, if standard error is
// a terminal, progress on one line of that.
//
// The exit status is 0 if all is well; 1 if there are problems: damage found
// and not mended, messages or mailboxes left out; 2 for wrong usage; 3 if the
// command failed or was interrupted. An interrupt ends it cleanly.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/posta-mail/posta/store"
)

// The exit statuses.
const (
	exitOK       = 0
	exitProblems = 1
	exitUsage    = 2
	exitFailure  = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// command is a subcommand: flags adds its flags, run does it and returns
// errProblems if it went well and found some.
type command struct {
	name, does string
	flags      func(*flag.FlagSet, *config)
	run        func(context.Context, *config) error
}

func commands() []command {
	return []command{
		{"check", "reads everything and names what is damaged", nil, check},
		{"repair", "mends what is damaged, as far as it can be", nil, func(ctx context.Context, c *config) error { return c.engineOf(c.engine).repair(ctx, c) }},
		{"backup", "copies the store to another folder; into an earlier backup, only what is new", backupFlags, backup},
		{"restore", "brings a backup back into an empty folder", restoreFlags, restore},
		{"stat", "lists accounts and mailboxes", statFlags, stat},
		{"export", "copies an account to mbox files, a Maildir or an IMAP server", exportFlags, export},
		{"import", "copies mbox files, a Maildir, an IMAP server's or another store's account here", importFlags, importMail},
	}
}

var (
	errProblems = errors.New("there were problems")
	errUsage    = errors.New("usage")
)

// usage is an error about the command line.
func usage(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errUsage}, args...)...)
}

// run is the command: args without the program's name.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	name := ""
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	for _, c := range commands() {
		if c.name != name {
			continue
		}
		return runCommand(ctx, c, args, stdout, stderr)
	}
	fmt.Fprintln(stderr, "usage: posta-store COMMAND -store DIR …")
	for _, c := range commands() {
		fmt.Fprintf(stderr, "  %-8s %s\n", c.name, c.does)
	}
	if name == "help" || name == "-h" || name == "-help" || name == "--help" {
		return exitOK
	}
	return exitUsage
}

func runCommand(ctx context.Context, c command, args []string, stdout, stderr io.Writer) int {
	cfg := &config{}
	fs := flag.NewFlagSet("posta-store "+c.name, flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&cfg.store, "store", "", "the store's folder")
	fs.StringVar(&cfg.engine, "engine", "sqlite", "what made the folder: sqlite or maildir")
	fs.BoolVar(&cfg.json, "json", false, "tell everything as lines of JSON")
	if c.flags != nil {
		c.flags(fs, cfg)
	}
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return exitOK
	} else if err != nil {
		return exitUsage
	}
	cfg.out = newTeller(cfg.json, stdout, stderr)
	err := cfg.check(fs)
	if err == nil {
		err = c.run(ctx, cfg)
	}
	cfg.out.endProgress()
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errProblems):
		return exitProblems
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "posta-store %s: %v\n", c.name, err)
		return exitUsage
	case errors.Is(err, store.ErrInUse):
		err = fmt.Errorf("in use: stop the server first (%w)", err)
	case ctx.Err() != nil:
		err = fmt.Errorf("interrupted: %w", err)
	}
	cfg.out.fail(err)
	fmt.Fprintf(stderr, "posta-store %s: %v\n", c.name, err)
	return exitFailure
}

// config is what the flags say.
type config struct {
	store, engine string
	json          bool
	out           *teller

	to, from                string // backup, restore, import from a store
	exact                   bool
	account, mailbox        string
	fromAccount, fromEngine string
	mbox, mboxFormat        string
	maildir                 string
	imap, passwordFile      string
	insecure, create        bool
	checkpoint              string
	choices                 string // of forms, for an error
}

// engineOf is what check has found to be there.
func (c *config) engineOf(name string) engine { return engines()[name] }

func (c *config) check(fs *flag.FlagSet) error {
	switch {
	case fs.NArg() > 0:
		return usage("unexpected argument %q", fs.Arg(0))
	case c.store == "":
		return usage("-store is missing")
	}
	if c.fromEngine == "" {
		c.fromEngine = c.engine
	}
	for _, name := range []string{c.engine, c.fromEngine} {
		if _, ok := engines()[name]; !ok {
			return usage("unknown engine %q", name)
		}
	}
	// Checkpoints know a store by its path.
	for _, dir := range []*string{&c.store, &c.from} {
		if *dir != "" {
			abs, err := filepath.Abs(*dir)
			if err != nil {
				return err
			}
			*dir = abs
		}
	}
	return nil
}
