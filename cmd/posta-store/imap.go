package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/posta-mail/posta/store/transfer"
)

// passwordEnv is the variable that holds the password without -password-file.
const passwordEnv = "POSTA_IMAP_PASSWORD"

// maxPassword bounds a file of passwords, in octets.
const maxPassword = 4 << 10

// server reads -imap: imaps://USER@HOST[:PORT][/PREFIX], or imap:.
func (c *config) server() (transfer.IMAP, error) {
	var s transfer.IMAP
	u, err := url.Parse(c.imap)
	switch {
	case err != nil:
		// The error would show a password.
		return s, usage("-imap is no URL")
	case u.User.Username() == "" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "":
		return s, usage("-imap is not imaps://USER@HOST[:PORT][/PREFIX]")
	}
	if _, set := u.User.Password(); set {
		return s, usage("-imap: a password on the command line is seen by others; use -password-file or %s", passwordEnv)
	}
	s = transfer.IMAP{Addr: u.Host, User: u.User.Username(), Prefix: strings.TrimPrefix(u.Path, "/")}
	switch {
	case u.Scheme == "imaps" && !c.insecure:
		s.Security = transfer.IMAPTLS
	case u.Scheme == "imap" && c.insecure:
		s.Security = transfer.IMAPPlaintext
	case u.Scheme == "imap":
		s.Security = transfer.IMAPStartTLS
	default:
		return s, usage("-imap wants imaps: or imap:, -insecure only the latter")
	}
	s.Password, err = c.password()
	return s, err
}

// password is the first line of the file, or the variable.
func (c *config) password() (string, error) {
	if c.passwordFile == "" {
		p := os.Getenv(passwordEnv)
		if p == "" {
			return "", usage("-imap needs -password-file or %s", passwordEnv)
		}
		return p, nil
	}
	f, err := os.Open(c.passwordFile)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPassword+1))
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" || len(line) > maxPassword {
		return "", fmt.Errorf("%s holds no password", c.passwordFile)
	}
	return line, nil
}

// connect logs in.
func (c *config) connect(ctx context.Context, s transfer.IMAP) (form, func() error, error) {
	session, err := s.Connect(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", s.Addr, err)
	}
	return session, session.Close, nil
}
