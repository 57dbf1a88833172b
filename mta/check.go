package mta

import (
	"context"
	"io"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/verify"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/smtp"
)

// Check is a policy: it looks at a connection, an envelope and a message and
// says what is to become of them. It is asked once for each phase of each
// transaction (at AtRcpt for each recipient) and returns the zero Verdict where
// it has nothing to say. Safe for concurrent use.
type Check interface {
	Check(ctx context.Context, t *Transaction) Verdict
}

// CheckFunc makes a Check of a function.
type CheckFunc func(ctx context.Context, t *Transaction) Verdict

// Check calls f.
func (f CheckFunc) Check(ctx context.Context, t *Transaction) Verdict { return f(ctx, t) }

// Phase is how far a transaction has come.
type Phase uint8

// The phases at which checks are asked.
const (
	AtConnect Phase = iota // before the greeting; only Peer is known
	AtMail                 // From is known
	AtRcpt                 // To's last element is the recipient in question
	AtData                 // the message is known
)

// String is the name of the phase in logs.
func (p Phase) String() string { return name(p, "connect", "mail", "rcpt", "data") }

func name[T ~uint8](n T, names ...string) string {
	if int(n) < len(names) {
		return names[n]
	}
	return "unknown"
}

// Transaction is what a Check sees. It must not be kept or changed.
type Transaction struct {
	Phase    Phase
	Peer     auth.Peer
	Identity *auth.Identity // nil for mail from the world
	From     smtp.Path
	Options  smtp.MailOptions
	To       []smtp.Path
	// Header, Message and Size are set at AtData: the message as it will be
	// filed, without the lines this system puts on top.
	Header  *message.Header
	Message io.ReaderAt
	Size    int64
	// Results are what SPF, DKIM, ARC and DMARC said; nil before AtData and for
	// submission.
	Results *verify.Results
}

// Action is what a Verdict demands.
type Action uint8

// The actions, from mild to final. Accept is the zero value: no objection.
const (
	Accept     Action = iota
	Quarantine        // file as junk
	Discard           // answer 250 and drop it; for traps only
	Defer             // 4yz
	Reject            // 5yz
)

// String is the name of the action in logs.
func (a Action) String() string { return name(a, "accept", "quarantine", "discard", "defer", "reject") }

// Verdict is a Check's answer. Verdicts are applied in the order of the
// checks: the first Defer, Reject or Discard is final, one Quarantine is enough.
// What was said at AtConnect holds for all transactions of the connection. At
// AtRcpt, Defer and Reject are about that recipient alone, and then nothing
// else that was said about it counts; Discard and Quarantine are about the
// whole message.
type Verdict struct {
	Action Action
	// Reply refuses in the Check's own words; nil: 554 5.7.1 for Reject,
	// 451 4.7.1 for Defer.
	Reply *smtp.Error
	// Header are complete header lines to be added on top.
	// Malformed ones, and fields of MIME, are logged and left out.
	Header []byte
	// Reason is for the log.
	Reason string
}

// refusal is the reply of a Defer or Reject.
func (v Verdict) refusal() error {
	if v.Reply != nil {
		return v.Reply
	}
	if v.Action == Defer {
		return smtp.Errorf(451, smtp.EnhancedCode{4, 7, 1}, "Try again later")
	}
	return smtp.Errorf(554, smtp.EnhancedCode{5, 7, 1}, "Refused by policy")
}

// judgement is what all checks together say.
type judgement struct {
	quarantine, discard bool
	header              []byte
	refusal             error
}

// ask asks the checks about a phase, until one is final.
func (a *Agent) ask(ctx context.Context, checks []Check, t *Transaction) (j judgement) {
	for _, c := range checks {
		v := c.Check(ctx, t)
		if v.Action != Accept {
			a.log().Info("check", "peer", t.Peer, "phase", t.Phase.String(), "action", v.Action.String(), "reason", v.Reason, "from", t.From)
		}
		if soundHeader(v.Header) {
			j.header = append(j.header, v.Header...)
		} else {
			a.log().Error("check returned a malformed header", "phase", t.Phase.String(), "header", string(v.Header))
		}
		switch v.Action {
		case Quarantine:
			j.quarantine = true
		case Discard:
			j.discard = true
			return j
		case Defer, Reject:
			j.refusal = v.refusal()
			return j
		}
	}
	return j
}
