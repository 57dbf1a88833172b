package smtptest

import (
	"crypto/tls"
	"encoding/binary"
	"hash/fnv"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Faults are what a [Server] or [Recorder] does wrong, besides what it does
// right: the rules are asked at each point of each connection, and the first
// that is due takes effect. The zero value does nothing wrong.
//
//	smtptest.Faults{Rules: []smtptest.Fault{
//		{At: smtptest.AtGreeting, Every: 3, Reply: "421 4.3.2 busy", Drop: smtptest.DropAfter},
//		{At: smtptest.AtRcpt, Match: regexp.MustCompile(`bob@`), Reply: "450 4.2.1 later"},
//		{At: smtptest.AtMessage, Times: 1, Drop: smtptest.DropReply},
//		{At: smtptest.AtHello, Hide: []string{"STARTTLS"}},
//	}}
//
// The server behind stays as it is. Clients talk to the faults, which pass
// commands, messages and replies on one at a time, and end TLS and begin it
// anew: channel bindings and client certificates do not get through.
type Faults struct {
	Rules []Fault
	// Seed is what Chance is drawn with: for equal seeds the n-th occasion on
	// the m-th connection has equal luck.
	Seed uint64
}

// Fault is one rule: where, when and what. All that it asks for must hold, and
// all that it does is done.
type Fault struct {
	// At is the point; empty means the greeting and every command.
	At Point
	// Match, if not nil, must match the command line without its CRLF; of
	// AtBody and AtMessage the lines of MAIL and RCPT so far, separated by "\n".
	Match *regexp.Regexp

	// Nth, if not 0, is the only occasion of each connection that counts: with
	// AtRcpt and 2, the second RCPT. Occasions are what At and Match leave.
	Nth int
	// Skip is how many occasions of all connections go by first.
	Skip int
	// Every lets every n-th occasion of all connections count; 0 is 1.
	Every int
	// Chance is how probable it is, from 0 to 1; 0 is always.
	Chance float64
	// Times is how often the rule takes effect at all; 0 is without end.
	Times int

	// Delay is waited for first. Together with nothing else, a server that is
	// slow; a delay longer than any timeout, one that stalls.
	Delay time.Duration
	// Reply takes the reply's place; the server behind does not see the command
	// or the message. CRLF is added to its last line, and written for each LF.
	// In LMTP the reply to a message is repeated for each recipient.
	Reply string
	// Raw sends Reply without adding or changing anything.
	Raw bool
	// Pass lets the server behind carry the command out although its reply is
	// replaced.
	Pass bool
	// Hide takes keywords out of the reply to EHLO, LHLO.
	Hide []string
	// Append is sent right behind the reply, in the same write.
	Append string
	// Drip is waited for before each octet of the reply; of AtBody, for each
	// octet of the message that is taken in.
	Drip time.Duration
	// Octets, of AtBody, is how much of the message comes through first, as it
	// is on the wire.
	Octets int
	// Drop closes the connection.
	Drop Drop
	// TLS, of AtHandshake, replaces the server's configuration: see Authority.
	TLS *tls.Config
}

// Point is where a Fault happens.
type Point string

// The points of a connection, in their usual order.
const (
	AtConnect   Point = "connect"   // Drop refuses the connection
	AtGreeting  Point = "greeting"  // the greeting
	AtHello     Point = "hello"     // EHLO, HELO, LHLO
	AtStartTLS  Point = "starttls"  // the command
	AtHandshake Point = "handshake" // TLS; Drop ends it within, Reply is sent instead of it
	AtAuth      Point = "auth"      // the command, not the lines that follow
	AtMail      Point = "mail"      // MAIL
	AtRcpt      Point = "rcpt"      // RCPT
	AtData      Point = "data"      // DATA, whose reply is 354
	AtChunk     Point = "chunk"     // BDAT, but for the last
	AtBody      Point = "body"      // within the message
	AtMessage   Point = "message"   // the reply to the message: after the final dot or last BDAT
	AtQuit      Point = "quit"      // QUIT
	AtOther     Point = "other"     // RSET, NOOP and all the rest
)

// Drop says when a connection is closed.
type Drop int

// The ways to close.
const (
	DropNever   Drop = iota
	DropCommand      // the server behind does not see the command, and there is no reply
	DropReply        // the command has been carried out, a message accepted; there is no reply
	DropAfter        // right after the reply
)

// local reports whether the command ends here.
func (f *Fault) local() bool {
	return f != nil && (f.Drop == DropCommand || f.Reply != "" && !f.Pass)
}

// faults are Faults in use.
type faults struct {
	Faults

	mu        sync.Mutex
	conns     int
	occasions []int // by rule
	effects   []int
}

func newFaults(f Faults) *faults {
	n := len(f.Rules)
	return &faults{Faults: f, occasions: make([]int, n), effects: make([]int, n)}
}

// visitor is one connection's count of occasions.
type visitor struct {
	*faults
	number int
	mine   []int // by rule
}

func (f *faults) visit() *visitor {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns++
	return &visitor{f, f.conns, make([]int, len(f.Rules))}
}

// at finds what goes wrong here; nil: nothing.
func (v *visitor) at(p Point, line string) *Fault {
	v.mu.Lock()
	defer v.mu.Unlock()
	var first *Fault
	for i := range v.Rules {
		f := &v.Rules[i]
		any := f.At == "" && p != AtConnect && p != AtHandshake && p != AtBody
		if (f.At != p && !any) || (f.Match != nil && !f.Match.MatchString(line)) {
			continue
		}
		v.occasions[i]++
		v.mine[i]++
		if first == nil && v.due(i) {
			v.effects[i]++
			first = f
		}
	}
	return first
}

func (v *visitor) due(i int) bool {
	f := &v.Rules[i]
	n := v.occasions[i] - f.Skip
	switch {
	case f.Nth != 0 && v.mine[i] != f.Nth,
		n <= 0 || n%max(f.Every, 1) != 0,
		f.Times > 0 && v.effects[i] >= f.Times:
		return false
	}
	return f.Chance <= 0 || v.luck(i) < f.Chance
}

// luck is a number from 0 to 1 that depends on nothing but what is counted.
func (v *visitor) luck(i int) float64 {
	h := fnv.New64a()
	for _, n := range []uint64{v.Seed, uint64(i), uint64(v.number), uint64(v.mine[i])} {
		_ = binary.Write(h, binary.BigEndian, n)
	}
	x := h.Sum64() // FNV's high bits are poor
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return float64(x>>11) / (1 << 53)
}

// reply is the reply as it is sent.
func (f *Fault) reply(theirs string) string {
	r := theirs
	switch {
	case f.Reply == "":
	case f.Raw:
		r = f.Reply
	default:
		r = strings.ReplaceAll(strings.TrimSuffix(f.Reply, "\n"), "\n", "\r\n") + "\r\n"
	}
	if len(f.Hide) > 0 {
		r = hide(r, f.Hide)
	}
	return r + f.Append
}

// hide takes keywords out of an EHLO reply.
func hide(reply string, keywords []string) string {
	lines := strings.Split(strings.TrimSuffix(reply, "\r\n"), "\r\n")
	kept := lines[:1]
	for _, l := range lines[1:] {
		word, _, _ := strings.Cut(l[min(4, len(l)):], " ")
		hidden := false
		for _, k := range keywords {
			hidden = hidden || strings.EqualFold(k, word)
		}
		if !hidden {
			kept = append(kept, l)
		}
	}
	last := len(kept) - 1
	if len(kept[last]) > 3 {
		kept[last] = kept[last][:3] + " " + kept[last][4:]
	}
	return strings.Join(kept, "\r\n") + "\r\n"
}
