package imap

import (
	"bytes"
	"errors"
	"io"
	"strconv"

	"github.com/posta-mail/posta/imap/internal/wire"
	lines "github.com/posta-mail/posta/internal/wire"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

// appendMessage is APPEND (RFC 9051 §6.3.12), of several messages too (RFC
// 3502).
func (s *session) appendMessage(p *wire.Parser) reply {
	return s.receive("APPEND", p, nil)
}

// incoming is an APPEND or REPLACE at work. As a reader it gives the octets of
// the message at hand, which it takes from the client and, for CATENATE, from
// the store as they are asked for.
type incoming struct {
	s        *session
	args     *wire.Append
	name     string    // of the command
	replaced *replaced // by REPLACE, else nil

	dest    place
	targets []store.Target
	one     [1]store.Target // the usual number
	total   int64           // octets of all messages
	lent    int             // octets of the budget, for flags
	held    int             // and for a string

	// Of the message at hand:
	size    int64
	text    literal // being read
	wrap    *wrapping
	reading bool // text is
	binary  bool // NUL is allowed, in the last literal and all before
	part    part // of a URL, being read
	parts   int  // literals and URLs
	done    bool
	sync    bool // the last literal was one
}

// refusal is a reply as an error. The client must be kept in step.
type refusal struct{ reply reply }

func (r *refusal) Error() string { return "imap: refused: " + r.reply.text }

// receive executes APPEND or REPLACE, from the space in front of the mailbox on.
func (s *session) receive(name string, p *wire.Parser, old *replaced) reply {
	in := &incoming{s: s, args: wire.NewAppend(p), name: name, replaced: old}
	in.targets = in.one[:0]
	defer in.release()
	for {
		step, err := in.step()
		switch {
		case err != nil:
			return in.failed(err)
		case step == wire.StepEnd:
			return in.file()
		case step == wire.StepMailbox:
			err = in.locate()
		case step == wire.StepBegin:
			err = in.stage()
		}
		if err != nil {
			return in.failed(err)
		}
	}
}

// release gives back what has not been handed on.
func (in *incoming) release() {
	in.part.close()
	for i := range in.targets {
		_ = in.targets[i].Body.Discard()
	}
	in.s.srv.budget.Release(in.lent + in.held)
}

// step goes to the next thing that is neither a string nor octets.
func (in *incoming) step() (wire.Step, error) {
	for {
		switch step := in.args.Next(); step {
		case wire.StepFailed:
			return step, &refusal{bad(in.args.Err().Error())}
		case wire.StepString:
			if err := in.supply(); err != nil {
				return step, err
			}
		default:
			return step, nil
		}
	}
}

// supply reads a literal that is a string.
func (in *incoming) supply() error {
	lit, room := in.args.Literal, in.s.maxCommand()
	if lit.Size > uint64(room) {
		return &refusal{bad("Literal too large")}
	}
	if r := in.s.admit(lit); r != (reply{}) {
		return &refusal{r}
	}
	if err := in.countPart(); err != nil {
		return err
	}
	if err := in.borrow(&in.held, int(lit.Size)); err != nil {
		return err
	}
	in.s.request(lit, "+ Ready for literal\r\n")
	b := make([]byte, lit.Size)
	if _, err := io.ReadFull(in.s.octets(lit.Size), b); err != nil {
		return clientFailure(err)
	}
	line, err := in.line()
	if err != nil {
		return err
	}
	in.args.Supply(string(b), line)
	if !lit.Binary && bytes.IndexByte(b, 0) >= 0 {
		return &refusal{bad("NUL in a literal")} // RFC 9051 §9, literal
	}
	return nil
}

// line reads what follows a literal.
func (in *incoming) line() ([]byte, error) {
	in.s.pace()
	line, err := in.s.in.ReadLine(in.s.maxCommand())
	if err != nil {
		return nil, clientFailure(err)
	}
	return line, nil
}

// borrow makes *lent n octets of the budget.
func (in *incoming) borrow(lent *int, n int) error {
	in.s.srv.budget.Release(*lent)
	*lent = 0
	if !in.s.srv.budget.Acquire(n) {
		return clientFailure(lines.ErrBudget)
	}
	*lent = n
	return nil
}

// room refuses n more octets of the message at hand if they are too many.
func (in *incoming) room(n uint64) error {
	lim := &in.s.srv.lim
	switch {
	case n > uint64(lim.message-in.size):
		return &refusal{no("TOOBIG", "Message too large")}
	case in.args.Messages > 1 && n > uint64(max(lim.appended-in.total-in.size, 0)):
		return &refusal{no("LIMIT", "Too much in one command")}
	}
	return nil
}

// countPart counts what a message is put together from: octets are bounded, but
// parts may have none.
func (in *incoming) countPart() error {
	if in.parts++; in.parts > in.s.srv.lim.literals {
		return &refusal{bad("Too many literals")}
	}
	return nil
}

// clientFailure marks an error that ends the session.
func clientFailure(err error) error {
	var lost *clientError
	if errors.As(err, &lost) {
		return err
	}
	return &clientError{err}
}

// locate finds the mailbox. Whether it exists is looked up only if that saves
// something, because placing finds out by itself.
func (in *incoming) locate() (err error) {
	if in.dest, err = in.s.locate(in.args.Mailbox); err != nil {
		return err
	}
	if err := in.replaced.check(in); err != nil {
		return err
	}
	lit, n := in.args.Rest()
	if n > 0 && !lit.Sync && lit.Size <= smallMessage {
		return nil
	}
	_, err = in.s.insertable(in.dest)
	return err
}

// smallMessage is up to which size a message is worth no question beforehand,
// and filed while the next one is being read.
const smallMessage = 256 << 10

// stage reads one message into the store.
func (in *incoming) stage() error {
	if in.args.Messages > 1 && in.replaced != nil {
		return &refusal{bad("One message replaces one")} // RFC 8508 §4.7
	}
	if refused, ok := in.s.tooMany(in.args.Messages); !ok { // RFC 9738 §3.1
		return &refusal{refused}
	}
	if in.args.Messages > in.s.srv.lim.messages {
		return &refusal{no("LIMIT", "Too many messages in one command")}
	}
	m := in.args.Message
	in.size, in.parts, in.done, in.binary, in.sync = 0, 0, false, true, false
	kept := in.lent
	for _, f := range m.Flags {
		kept += len(f)
	}
	if err := in.borrow(&in.lent, kept); err != nil {
		return err
	}
	staged, err := in.s.srv.Store.Stage(in.s.ctx, in)
	if err != nil {
		return err
	}
	in.targets = append(in.targets, store.Target{
		Account: in.dest.acc.Name(), Mailbox: in.dest.local, Body: staged, Flags: flagNames(m.Flags), Date: m.Date,
	})
	if !in.done { // a store that did not read to the end
		if _, err := io.Copy(io.Discard, in); err != nil {
			return err
		}
	}
	in.total += in.size
	traits := staged.Outline().Traits
	switch {
	case in.size == 0:
		// RFC 3502 §6.3.11: the client gives up; nothing is appended.
		return &refusal{no("CANNOT", "Message is empty")}
	case !in.binary && !in.args.Catenated && traits&message.HasNUL != 0:
		return &refusal{bad("NUL in a literal")} // RFC 9051 §9, literal; literal8 may
	case traits&message.HasEightBitHeader != 0 && !in.s.utf8() && in.s.can("UTF8=ACCEPT"):
		return &refusal{no("CANNOT", "8-bit header needs ENABLE UTF8=ACCEPT")} // RFC 9755 §4
	}
	return nil
}

// Read implements io.Reader for the message at hand.
func (in *incoming) Read(b []byte) (int, error) {
	for !in.done {
		var n int
		var err error
		switch {
		case in.reading:
			n, err = in.readText(b)
		case in.part.r != nil:
			n, err = in.readPart(b)
		default:
			err = in.advance()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.EOF
}

// advance begins what the message goes on with.
func (in *incoming) advance() error {
	step, err := in.step()
	if err != nil {
		return err
	}
	switch step {
	case wire.StepText:
		return in.beginText()
	case wire.StepURL:
		return in.beginPart()
	}
	in.done = true // there is nothing else: StepDone
	return nil
}

// beginText asks for a literal.
func (in *incoming) beginText() error {
	lit := in.args.Literal
	if err := in.countPart(); err != nil {
		return err
	}
	// RFC 7889 §4: TOOBIG instead of a continuation request.
	if err := in.room(lit.Size); err != nil {
		return err
	}
	if r := in.s.admit(lit); r != (reply{}) {
		return &refusal{r}
	}
	in.s.request(lit, "+ Ready for message\r\n")
	in.text, in.reading = in.s.octets(lit.Size), true
	in.size += int64(lit.Size)
	in.binary, in.sync, in.wrap = lit.Binary, lit.Sync, nil
	if in.s.utf8Accept && !lit.Binary && !in.args.Catenated && lit.Size >= uint64(wrapSize) {
		in.wrap = &wrapping{}
	}
	return nil
}

func (in *incoming) readText(b []byte) (int, error) {
	var n int
	var err error
	if in.wrap == nil {
		n, err = in.text.Read(b)
	} else {
		n, err = in.wrap.read(in, b)
	}
	var refused *refusal
	if errors.As(err, &refused) {
		return 0, err
	}
	if in.args.Catenated && !in.binary && bytes.IndexByte(b[:n], 0) >= 0 {
		return 0, &refusal{bad("NUL in a literal")}
	}
	if in.text.r.Left() > 0 || in.wrap != nil && len(in.wrap.head) > 0 {
		if err != nil {
			err = clientFailure(err)
		}
		return n, err
	}
	in.reading = false
	line, err := in.line()
	if err == nil {
		in.args.Line(line)
	}
	return n, err
}

// failed answers a command that cannot be executed, and keeps the client in
// step: what belongs to the command is read and thrown away, if it is not more
// than a message may be.
func (in *incoming) failed(err error) reply {
	s := in.s
	var lost *clientError
	if errors.As(err, &lost) {
		s.readFailed(lost)
		return gone
	}
	r := in.reply(err)
	if in.reading {
		in.reading = false
		if _, err := io.Copy(io.Discard, in.text); err != nil {
			s.readFailed(err)
			return gone
		}
		s.pace()
		line, err := s.in.ReadLine(s.maxCommand())
		if err != nil {
			s.readFailed(err)
			return gone
		}
		in.args.Line(line)
	}
	if lit, n := in.args.Rest(); n > 0 {
		if err := s.skip(lit, uint64(max(s.srv.lim.message, maxDrain))); err != nil {
			s.readFailed(err)
			return gone
		}
	}
	return r
}

func (in *incoming) reply(err error) reply {
	var r *refusal
	if errors.As(err, &r) {
		return r.reply
	}
	if in.replaced != nil && in.replaced.uid != 0 && in.s.anyGone(store.UIDs(in.replaced.uid), 1) {
		return no("EXPUNGEISSUED", "Message has been expunged")
	}
	return in.s.failedTo(err)
}

// file files what has been staged: all or nothing.
func (in *incoming) file() reply {
	s := in.s
	if in.replaced != nil {
		in.targets[0].Replaces, in.targets[0].ReplacesIn = in.replaced.uid, s.sel.mb.ID()
	}
	f := filing{name: in.name, octets: in.total}
	if in.replaced == nil && (!in.sync || s.in.Buffered() > 0) && s.fileLater(&f, func() rest {
		return &appending{in.name, in.dest.acc, in.targets, s.guard.PlaceLater(s.ctx, in.targets)}
	}) {
		in.targets = nil // they are the filing's now
		return pending
	}
	placed := s.guard.Place(s.ctx, in.targets)
	for _, p := range placed {
		if p.Err != nil {
			return in.reply(p.Err)
		}
	}
	r := okCode(s.appendUID(in.dest.acc, placed), in.name+" completed")
	if in.replaced != nil {
		s.ownRemoved(store.UIDs(in.replaced.uid))
		s.untagged(reply{"OK", r.code, "Replacement is filed"}) // RFC 8508 §4.3
		return ok(in.name + " completed")
	}
	return r
}

// appendUID is the code of APPEND (RFC 4315 §3); for several messages with a
// set. Who may add messages to another's mailbox, and not read it, is told
// nothing of it.
func (s *session) appendUID(acc store.Account, placed []store.Placed) string {
	for _, p := range placed {
		s.ownFiled(acc, p.Mailbox, p.UID)
	}
	if acc.Name() != s.acc.Name() {
		if r, err := store.MyRights(s.ctx, acc, placed[0].Mailbox); err != nil || !r.Has(store.RightRead) {
			return ""
		}
	}
	b := append(make([]byte, 0, 32), "APPENDUID "...)
	b = strconv.AppendUint(b, uint64(placed[0].UIDValidity), 10)
	b = append(b, ' ')
	var w wire.NumSetWriter
	for _, p := range placed {
		b = w.Add(b, uint32(p.UID))
	}
	return string(w.End(b))
}

// flagNames converts flags as parsed. \Recent is not the client's to set and
// left out (RFC 3501 §2.3.2).
func flagNames(sent []string) []store.Flag {
	if len(sent) == 0 {
		return nil
	}
	flags := make([]store.Flag, 0, len(sent))
	for _, f := range sent {
		if !equalFold(f, `\Recent`) {
			flags = append(flags, store.Flag(f))
		}
	}
	return flags
}
