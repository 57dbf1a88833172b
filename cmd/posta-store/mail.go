package main

import (
	"context"
	"errors"
	"flag"
	"strings"

	"github.com/posta-mail/posta/store/transfer"
)

// formFlags are those of export and import.
func formFlags(fs *flag.FlagSet, c *config) {
	fs.StringVar(&c.account, "account", "", "the account")
	fs.StringVar(&c.mailbox, "mailbox", "", "only this mailbox")
	fs.StringVar(&c.mbox, "mbox", "", "a folder of mbox files, or a file to import")
	fs.StringVar(&c.maildir, "maildir", "", "a Maildir with its folders")
	fs.StringVar(&c.imap, "imap", "", "an IMAP server: imaps://USER@HOST[:PORT][/PREFIX]; imap: for STARTTLS")
	fs.StringVar(&c.passwordFile, "password-file", "", "the file whose first line is the password for -imap; else "+passwordEnv+" holds it")
	fs.BoolVar(&c.insecure, "insecure", false, "send the password without TLS to an imap: server: for loopback and closed networks")
	fs.StringVar(&c.checkpoint, "checkpoint", "", "the file that remembers what has been done")
}

func exportFlags(fs *flag.FlagSet, c *config) {
	formFlags(fs, c)
	c.choices = "-mbox, -maildir and -imap"
}

func importFlags(fs *flag.FlagSet, c *config) {
	formFlags(fs, c)
	c.choices = "-mbox, -maildir, -imap and -from"
	fs.BoolVar(&c.create, "create", false, "make the account if there is none")
	fs.StringVar(&c.mboxFormat, "mbox-format", "mboxrd", "mboxrd, mboxo, mboxcl or mboxcl2")
	fs.StringVar(&c.from, "from", "", "the folder of another store")
	fs.StringVar(&c.fromEngine, "from-engine", "", "what made that folder, if not what made this one")
	fs.StringVar(&c.fromAccount, "from-account", "", "the account there")
}

// form is a kind of place that mail is exported to and imported from.
type form interface {
	transfer.Source
	transfer.Sink
}

// form opens the one that the flags name, if they name just one, or returns nil.
func (c *config) form(ctx context.Context) (f form, done func() error, err error) {
	n := 0
	for _, value := range []string{c.mbox, c.maildir, c.imap, c.from} {
		if value != "" {
			n++
		}
	}
	if c.account == "" || n != 1 {
		return nil, nil, usage("-account and one of %s are needed", c.choices)
	}
	done = func() error { return nil }
	switch {
	case c.mbox != "":
		format, err := mboxFormat(c.mboxFormat)
		return transfer.Mbox{Path: c.mbox, Format: format, Mailbox: c.mailbox}, done, err
	case c.maildir != "":
		return transfer.Maildir{Path: c.maildir}, done, nil
	case c.imap != "":
		s, err := c.server()
		if err != nil {
			return nil, nil, err
		}
		return c.connect(ctx, s)
	}
	st, err := c.engineOf(c.fromEngine).read(c, c.from)
	if err != nil {
		return nil, nil, err
	}
	if c.fromAccount == "" {
		c.fromAccount = c.account
	}
	return transfer.Account{Store: st, Name: c.fromAccount, Label: c.from}, st.Close, nil
}

func mboxFormat(name string) (transfer.MboxFormat, error) {
	switch name {
	case "", "mboxrd":
		return transfer.MboxRD, nil
	case "mboxo":
		return transfer.MboxO, nil
	case "mboxcl":
		return transfer.MboxCL, nil
	case "mboxcl2":
		return transfer.MboxCL2, nil
	}
	return 0, usage("unknown mbox format %q", name)
}

func export(ctx context.Context, c *config) (err error) {
	to, done, err := c.form(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	st, err := c.engineOf(c.engine).read(c, c.store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	return c.copy(ctx, transfer.Account{Store: st, Name: c.account, Label: c.store}, to)
}

func importMail(ctx context.Context, c *config) (err error) {
	from, done, err := c.form(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	st, err := c.engineOf(c.engine).open(c, c.store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	return c.copy(ctx, from, transfer.Account{Store: st, Name: c.account, Create: c.create, Label: c.store})
}

// copy copies and tells.
func (c *config) copy(ctx context.Context, from transfer.Source, to transfer.Sink) error {
	opt := transfer.Options{Checkpoint: c.checkpoint}
	opt.Progress = func(p transfer.Progress) {
		c.out.progress(event{
			"folder": p.Folder, "messages": p.Messages, "total_messages": p.TotalMessages, "octets": p.Octets, "total_octets": p.TotalOctets, "skipped": p.Skipped,
		}, "%s %d messages, %s, %s", share(p), p.Messages, octets(p.Octets), p.Folder)
	}
	opt.Skipped = func(s transfer.Skip) {
		what := strings.TrimSpace(s.Folder + " " + s.Message)
		c.out.say(event{"event": "skipped", "folder": s.Folder, "message": s.Message, "error": s.Err.Error()}, "left out: %q: %v", what, s.Err)
	}
	if c.mailbox != "" {
		opt.Mailbox = func(name string) (string, bool) { return name, strings.EqualFold(name, c.mailbox) }
	}
	r, err := transfer.Copy(ctx, from, to, opt)
	for name, as := range r.Renamed {
		c.out.say(event{"event": "renamed", "folder": name, "as": as}, "renamed: %q is %q", name, as)
	}
	kind := "done"
	if err != nil {
		kind = "stopped"
	}
	c.out.say(event{
		"event": kind, "folders": r.Folders, "messages": r.Messages, "octets": r.Octets, "earlier": r.Earlier, "duplicates": r.Duplicates,
		"altered": r.Altered, "skipped": r.Skipped,
	}, "%s: %d mailboxes, %d messages, %s; %d earlier, %d were there already, %d altered, %d left out",
		kind, r.Folders, r.Messages, octets(r.Octets), r.Earlier, r.Duplicates, r.Altered, r.Skipped)
	if err == nil && r.Skipped > 0 {
		err = errProblems
	}
	return err
}

// share is how far a copy is.
func share(p transfer.Progress) string {
	if p.TotalMessages > 0 {
		return percent(p.Messages, p.TotalMessages)
	}
	return percent(p.Octets, p.TotalOctets)
}
