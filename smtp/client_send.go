package smtp

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// SendResult is what became of a message.
type SendResult struct {
	// Reply is the server's answer to the message; zero if it came to none, and
	// in LMTP.
	Reply Reply
	// Recipients has one entry for each recipient of the envelope, in order.
	// Nil means that the server took responsibility for it; anything else is a
	// *CommandError.
	Recipients []error
	// Dropped are the keywords of extensions that the server does not have and
	// that the message could go without; see Send. With "DSN" among them, an
	// accepted recipient with NotifySuccess is owed a report "relayed" by whoever
	// relays the message (RFC 3461 §5.2.2).
	Dropped []string
	// Conn tells about the connection, if a Transport has sent the message.
	Conn ConnInfo
}

// Send makes one transaction: sender, recipients, message. Of env it takes
// From, To and MailOptions; a Size of 0 is filled in if body knows its length
// (Len or Size method). A nil body is an empty one. Line ends of body become
// CRLF, so that no bare CR or LF is ever sent, but for [BodyBinary], which goes
// as it is.
//
// With PIPELINING, commands go out together (RFC 2920): a round trip for up to
// 16 KiB of them and one for the message. The message goes by BDAT where the
// server has CHUNKING and there is something to win: one of [BodyBinary], which
// needs it; one of known size up to 64 KiB to up to 50 recipients, which then
// goes out with the commands; one of known size from 1 MiB. Otherwise by DATA.
//
// Of what the server does not offer, these are left out and noted in
// SendResult.Dropped: NOTIFY, ORCPT, RET and ENVID (RFC 3461 §5.2.2), MT-PRIORITY
// (RFC 6710), BY unless it demands the message's return (RFC 2852), RRVS if it
// allows that (RFC 7293 §3.1); SMTPUTF8 is, if neither an address nor the header
// needs it; AUTH= before a login. Everything else is an error that wraps
// ErrNotSent and an *[ExtensionError]. Among them REQUIRETLS is never left out:
// without the extension, or with a server that has not been verified, the error
// wraps ErrRequireTLS.
//
// Recipients beyond the server's RCPTMAX and RCPTDOMAINMAX (RFC 9422) are not
// sent; their error wraps ErrLimit and is temporary, just as the 452 that a
// server would give for them: send to them in another transaction.
//
// A recipient may fail alone; see SendResult, which is never nil. err is nil
// if at least one recipient was accepted. Otherwise it is a *CommandError:
// what all failed of, or the first recipient's error. After an error Alive tells
// whether the Client can be used for another message.
func (c *Client) Send(ctx context.Context, env *Envelope, body io.Reader) (*SendResult, error) {
	defer c.begin(ctx)()
	if body == nil {
		body = strings.NewReader("")
	}
	t := &transaction{c: c, env: env, res: &SendResult{Recipients: make([]error, len(env.To))}}
	err := t.run(body)
	ok := false
	for i, e := range t.res.Recipients {
		if e == nil {
			t.res.Recipients[i] = err
		}
		ok = ok || t.res.Recipients[i] == nil
	}
	switch {
	case ok:
		return t.res, nil
	case err == nil && len(env.To) > 0:
		err = t.res.Recipients[0]
	case err == nil:
		err = &CommandError{"RCPT", notSent(554, EnhancedCode{5, 5, 1}, "no recipients")}
	}
	return t.res, err
}

// transaction is one Send.
type transaction struct {
	c        *Client
	env      *Envelope
	res      *SendResult
	utf8     bool   // SMTPUTF8 is in use
	chunk    []byte // the whole message, if it goes out with the commands
	chunked  bool   // the message goes by BDAT
	accepted []int  // recipients, by index
	mailErr  error
	dataErr  error // nil: 354 was read, or 250 for the message
	asked    bool  // DATA was sent
}

func (t *transaction) run(body io.Reader) error {
	c := t.c
	if c.Exhausted() {
		return &CommandError{"MAIL", overLimit("MAILMAX")}
	}
	if err := t.checkUTF8(&body); err != nil {
		return &CommandError{"MAIL", err}
	}
	size := t.env.Size
	if size <= 0 {
		size = bodySize(body)
	}
	mail, err := t.mailArgs(size)
	if err != nil {
		return &CommandError{"MAIL", err}
	}
	todo := t.steps(mail)
	if len(todo) == 0 {
		return nil // each recipient has its own error
	}
	src := &bodySource{r: body}
	if err := t.choose(src, size); err != nil {
		return err
	}
	if err := t.envelope(todo); err != nil {
		return err
	}
	switch {
	case t.asked && t.dataErr == nil && len(t.accepted) == 0:
		return t.sendNothing()
	case t.mailErr != nil && t.asked && t.dataErr == nil:
		// Recipients without a sender: neither a message nor a command comes next.
		_ = t.c.fail("DATA", fmt.Errorf("%w: DATA accepted without a sender", ErrProtocol))
		return t.mailErr
	case t.mailErr != nil:
		return t.mailErr
	case len(t.accepted) == 0:
		return nil // each has its own error
	case t.dataErr != nil || t.chunk != nil:
		return t.dataErr
	case t.chunked:
		return t.chunks(src)
	}
	return t.message(src)
}
