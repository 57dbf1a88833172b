package wire

import "time"

// AppendMessage is what precedes the data of a message in APPEND.
type AppendMessage struct {
	Flags []string
	Date  time.Time // zero if not given
}

// Step is what an APPEND has next.
type Step uint8

// The steps of APPEND.
const (
	StepFailed  Step = iota // it is not well formed; Err says why
	StepString              // Literal is a string: read it and Supply it
	StepMailbox             // Mailbox is known
	StepBegin               // a message begins; Message is known
	StepText                // Literal is part of the message: read it and go on with Line
	StepURL                 // what URL names is part of the message (RFC 4469 §3)
	StepDone                // the message is complete
	StepEnd                 // so is the command
)

// Append reads the arguments of APPEND (RFC 9051 §6.3.12), with CATENATE (RFC
// 4469 §5), any number of messages (RFC 3502 §6.3.11) and the UTF8 item (RFC
// 6855 §4), step by step: literals are read by the caller. Not safe for
// concurrent use.
type Append struct {
	p    *Parser
	next func(*Append) Step
	text string // supplied

	Mailbox  string // as sent
	Message  AppendMessage
	Messages int // how many have begun
	URL      string
	Literal  Literal // the last one announced
	// Catenated: the message at hand is put together with CATENATE.
	Catenated bool
}

// NewAppend returns what reads the arguments from p on, which holds a line
// without its CRLF and stands before the space in front of the mailbox.
func NewAppend(p *Parser) *Append { return &Append{p: p, next: (*Append).mailbox} }

// Next goes one step. After StepFailed and StepEnd there is none.
func (a *Append) Next() Step {
	switch {
	case a.p.err != nil:
		return StepFailed
	case a.next == nil:
		return StepEnd
	}
	step := a.next(a)
	if a.p.err != nil {
		return StepFailed
	}
	return step
}

// Err is why the arguments are not well formed.
func (a *Append) Err() error { return a.p.err }

// Line gives the line that followed the octets of a literal, without its CRLF.
// It must stay as it is until the next literal is announced.
func (a *Append) Line(b []byte) { a.p.b, a.p.i = b, 0 }

// Supply gives the octets of an StepString, and the line that followed.
func (a *Append) Supply(text string, line []byte) {
	a.text = text
	a.Line(line)
}

// Rest is the announcement of a literal that ends the line at hand, and n its
// length: 0 if there is none. It is what to skip when the command is refused.
func (a *Append) Rest() (lit Literal, n int) { return a.p.Rest() }

// announced takes the announcement of a literal.
func (a *Append) announced() {
	lit, n := TrailingLiteral(a.p.b)
	if n == 0 || a.p.i != len(a.p.b)-n {
		a.p.fail("Literal expected")
		return
	}
	a.p.i = len(a.p.b)
	a.Literal = lit
}

func (a *Append) mailbox() Step {
	a.p.Space()
	if a.p.peek() == '{' {
		a.announced()
		a.next = (*Append).mailboxSupplied
		return StepString
	}
	a.Mailbox, a.next = a.p.Astring(), (*Append).message
	return StepMailbox
}

func (a *Append) mailboxSupplied() Step {
	a.Mailbox, a.next = a.text, (*Append).message
	return StepMailbox
}

// message reads SP [flags SP] [date SP].
func (a *Append) message() Step {
	p := a.p
	p.Space()
	a.Message, a.Catenated = AppendMessage{}, false
	if p.peek() == '(' {
		a.Message.Flags = p.FlagList()
		p.Space()
	}
	if p.peek() == '"' {
		a.Message.Date = p.DateTime()
		p.Space()
	}
	a.Messages++
	a.next = (*Append).data
	return StepBegin
}

func (a *Append) data() Step {
	p := a.p
	switch c := p.peek(); {
	case c == '{' || c == '~':
		a.announced()
		if a.Literal.Binary {
			p.needs("BINARY", "Literal expected")
		}
		a.next = (*Append).done
		return StepText
	case p.keywordIs("CATENATE"):
		p.needs("CATENATE", "Literal expected")
		p.Space()
		p.expect('(', "Parenthesis expected")
		a.Catenated = true
		return a.part()
	case p.keywordIs("UTF8"):
		p.needs("UTF8=ACCEPT", "Literal expected")
		if !p.lim.UTF8 { // RFC 6855 §4
			p.fail("UTF8=ACCEPT is not enabled")
		}
		p.Space()
		p.expect('(', "Parenthesis expected")
		a.announced()
		if p.err == nil && !a.Literal.Binary {
			p.fail("literal8 expected")
		}
		a.next = (*Append).utf8End
		return StepText
	}
	p.fail("Literal expected")
	return StepFailed
}

func (a *Append) utf8End() Step {
	a.p.expect(')', "Parenthesis expected")
	return a.done()
}

func (a *Append) done() Step {
	a.next = (*Append).following
	return StepDone
}

// part reads one part of CATENATE.
func (a *Append) part() Step {
	p := a.p
	switch {
	case p.keywordIs("TEXT"):
		p.Space()
		a.announced()
		a.next = (*Append).partEnd
		return StepText
	case p.keywordIs("URL"):
		p.Space()
		if p.peek() == '{' {
			a.announced()
			a.next = (*Append).urlSupplied
			return StepString
		}
		a.URL, a.next = p.Astring(), (*Append).partEnd
		return StepURL
	}
	p.fail("TEXT or URL expected")
	return StepFailed
}

func (a *Append) urlSupplied() Step {
	a.URL, a.next = a.text, (*Append).partEnd
	return StepURL
}

func (a *Append) partEnd() Step {
	if a.p.try(')') {
		return a.done()
	}
	a.p.Space()
	return a.part()
}

// following reads the end of the command, or another message.
func (a *Append) following() Step {
	switch {
	case a.p.AtEnd():
		a.next = nil
		return StepEnd
	case a.p.peek() != ' ':
		a.p.fail("Unexpected text after the message")
	}
	a.p.needs("MULTIAPPEND", "Unexpected text after the message")
	return a.message()
}

// Rest is the announcement of a literal at the end of what the parser reads, and
// its length n: 0 if there is none.
func (p *Parser) Rest() (lit Literal, n int) { return TrailingLiteral(p.b) }

// One reads a space and the number of one message (RFC 8508 §5).
func (p *Parser) One() NumRange {
	p.Space()
	n := p.seqNumber()
	return NumRange{From: n, To: n}
}
