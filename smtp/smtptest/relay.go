package smtptest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// relay stands between a client and the server, and is where faults happen. It
// handles one command at a time.
type relay struct {
	*network
	*visitor
	client, server *peerConn
	left           context.Context // ends when the client has gone
	gone           context.CancelFunc

	transaction
}

type transaction struct {
	envelope []string // lines of MAIL and RCPT
	rcpts    []bool   // accepted: by the server behind, or by a Fault alone
	begun    bool     // the message
	octets   int      // of it so far
	body     *Fault   // what happens within it
	reached  bool     // and has
}

// errDropped ends a connection on purpose.
var errDropped = errors.New("smtptest: connection dropped")

// run serves one connection until it ends.
func (r *relay) run(config *tls.Config) {
	defer func() { _, _ = r.client.Close(), r.server.Close() }()
	if config != nil && r.handshake(config) != nil {
		return
	}
	if r.step(AtGreeting, "", nil) != nil {
		return
	}
	for {
		line, err := r.readCommand()
		if err != nil || r.command(line) != nil {
			return
		}
	}
}

// readCommand waits for the client, and passes on what the server behind says
// meanwhile, or that it has closed the connection.
func (r *relay) readCommand() (string, error) {
	defer r.server.watch(func(err error) {
		var reply string
		if err == nil {
			reply, err = r.readReply()
		}
		if err == nil {
			err = r.say(reply, 0)
		}
		if err != nil {
			r.client.part()
			_ = r.client.Close()
		}
	})()
	return r.client.r.ReadString('\n')
}

// points of commands that are neither messages nor TLS.
var points = map[string]Point{
	"EHLO": AtHello, "HELO": AtHello, "LHLO": AtHello, "MAIL": AtMail, "RCPT": AtRcpt, "QUIT": AtQuit,
}

func (r *relay) command(line string) error {
	verb, args, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
	switch verb = strings.ToUpper(verb); verb {
	case "STARTTLS":
		return r.startTLS(line)
	case "AUTH":
		return r.auth(line)
	case "DATA":
		return r.data(line)
	case "BDAT":
		return r.bdat(line, args)
	}
	p := points[verb]
	if p == "" {
		p = AtOther
	}
	if p == AtMail || p == AtHello || verb == "RSET" {
		r.reset()
	}
	if p == AtMail || p == AtRcpt {
		r.envelope = append(r.envelope, strings.TrimRight(line, "\r\n"))
	}
	f := r.at(p, strings.TrimRight(line, "\r\n"))
	reply, err := r.exchange(f, line)
	switch {
	case p != AtRcpt || f.local() && !strings.HasPrefix(f.Reply, "2"):
	case f.local() || strings.HasPrefix(reply, "2"):
		r.rcpts = append(r.rcpts, !f.local())
	}
	return err
}

// step is a reply that no line of the client's comes before.
func (r *relay) step(p Point, line string, send func() error) error {
	_, err := r.answer(r.at(p, line), theirOwn, send)
	return err
}

// exchange passes a command on and returns the server's reply.
func (r *relay) exchange(f *Fault, line string) (string, error) {
	return r.answer(f, theirOwn, func() error {
		_, err := io.WriteString(r.server, line)
		return err
	})
}

// theirOwn is one reply, which comes from the server behind.
var theirOwn = []bool{true}

// answer lets send ask the server behind, unless the fault leaves it out, and
// passes its replies on, with those in place of which it has none. What it
// returns is the last reply of the server.
func (r *relay) answer(f *Fault, replies []bool, send func() error) (string, error) {
	if f == nil {
		f = &Fault{}
	}
	theirs, ours, err := r.ask(f, replies, send)
	if err != nil {
		return theirs, err
	}
	if err := r.say(ours, f.Drip); err != nil {
		return theirs, err
	}
	if f.Drop == DropAfter {
		r.client.part()
		return theirs, errDropped
	}
	return theirs, nil
}

// ask waits for the server's last reply, and makes of all what the client gets.
// The client may go away meanwhile, and then the server behind is told.
func (r *relay) ask(f *Fault, replies []bool, send func() error) (theirs, ours string, err error) {
	defer r.client.watch(func(err error) {
		if err != nil {
			r.gone()
			_ = r.server.Close()
		}
	})()
	if err := r.wait(f.Delay); err != nil {
		return "", "", err
	}
	if f.Drop == DropCommand {
		return "", "", errDropped
	}
	if !f.local() && send != nil {
		if err := send(); err != nil {
			return "", "", err
		}
	}
	var out strings.Builder
	for _, behind := range replies {
		theirs = "250 2.0.0 OK\r\n"
		if behind && (!f.local() || send == nil) {
			if theirs, err = r.readReply(); err != nil {
				return "", "", err
			}
		}
		out.WriteString(f.reply(theirs))
	}
	if f.Drop == DropReply {
		return theirs, "", errDropped
	}
	return theirs, out.String(), nil
}

func (r *relay) say(s string, drip time.Duration) error {
	if drip <= 0 {
		_, err := io.WriteString(r.client, s)
		return err
	}
	for i := range len(s) {
		if err := r.wait(drip); err != nil {
			return err
		}
		if _, err := io.WriteString(r.client, s[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// readReply reads a reply of the server behind, all lines.
func (r *relay) readReply() (string, error) {
	var b strings.Builder
	for {
		line, err := r.server.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		b.WriteString(line)
		if len(line) < 4 || line[3] != '-' {
			return b.String(), nil
		}
	}
}

func (r *relay) wait(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-r.closed:
		return net.ErrClosed
	case <-r.left.Done():
		return net.ErrClosed
	}
}

func (r *relay) startTLS(line string) error {
	f := r.at(AtStartTLS, strings.TrimRight(line, "\r\n"))
	reply, err := r.exchange(f, line)
	if err != nil || f.local() || !strings.HasPrefix(reply, "220") {
		return err
	}
	r.reset()
	return r.handshake(r.config())
}

// handshake makes the client's TLS, and the server's.
func (r *relay) handshake(config *tls.Config) error {
	if f := r.at(AtHandshake, ""); f != nil {
		if err := r.wait(f.Delay); err != nil {
			return err
		}
		if f.Drop != DropNever || f.Reply != "" {
			_, _ = r.client.Read(make([]byte, 64)) // into the client's first message
			_ = r.say(f.reply(""), f.Drip)
			r.client.part()
			return errDropped
		}
		if f.TLS != nil {
			config = f.TLS
		}
	}
	client := tls.Server(r.client.Conn, config)
	if err := client.Handshake(); err != nil {
		return err
	}
	// The server's certificate is not what is tested here.
	server := tls.Client(r.server.Conn, &tls.Config{InsecureSkipVerify: true})
	if err := server.Handshake(); err != nil {
		return err
	}
	r.client.encrypted(client)
	r.server.encrypted(server)
	return nil
}

func (r *relay) auth(line string) error {
	f := r.at(AtAuth, strings.TrimRight(line, "\r\n"))
	reply, err := r.exchange(f, line)
	for err == nil && !f.local() && strings.HasPrefix(reply, "334") {
		if line, err = r.client.r.ReadString('\n'); err != nil {
			return err
		}
		reply, err = r.exchange(nil, line)
	}
	return err
}

// data passes DATA and a message on. If the reply to the message is to be
// another's, the server behind is not asked at all.
func (r *relay) data(line string) error {
	f := r.at(AtData, strings.TrimRight(line, "\r\n"))
	var m *Fault
	if !f.local() && len(r.rcpts) > 0 {
		m = r.at(AtMessage, strings.Join(r.envelope, "\n"))
	}
	if m.local() {
		own := Fault{}
		if f != nil {
			own = *f
		}
		own.Reply, own.Raw, own.Pass = "354 Go ahead", false, false
		f = &own
	}
	reply, err := r.exchange(f, line)
	if err != nil || !m.local() && !strings.HasPrefix(reply, "354") {
		return err
	}
	r.body, r.begun = r.at(AtBody, strings.Join(r.envelope, "\n")), true
	if err := r.relayBody(r.toServer(m)); err != nil {
		return err
	}
	return r.messageDone(m)
}

// toServer is where a message goes.
func (r *relay) toServer(m *Fault) io.Writer {
	if m.local() {
		return io.Discard
	}
	return r.server
}

// relayBody passes a message on through CRLF.CRLF.
func (r *relay) relayBody(to io.Writer) error {
	for start := true; ; {
		part, err := r.client.r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return err
		}
		end := start && string(part) == ".\r\n"
		start = bytes.HasSuffix(part, []byte("\r\n")) // only CRLF ends a line
		if err := r.pass(to, part); err != nil || end {
			return err
		}
	}
}

// messageDone passes the reply to a message on, in LMTP one for each recipient.
func (r *relay) messageDone(m *Fault) error {
	replies := theirOwn
	if r.lmtp && len(r.rcpts) > 0 {
		replies = r.rcpts
	}
	r.reset()
	if _, err := r.answer(m, replies, func() error { return nil }); err != nil || !m.local() {
		return err
	}
	return r.forget()
}

func (r *relay) reset() { r.transaction = transaction{} }

// forget ends the transaction with the server behind.
func (r *relay) forget() error {
	if _, err := io.WriteString(r.server, "RSET\r\n"); err != nil {
		return err
	}
	_, err := r.readReply()
	return err
}

// pass takes a piece of the message in, with what goes wrong in it.
func (r *relay) pass(to io.Writer, part []byte) error {
	f := r.body
	if f != nil && !r.reached && r.octets+len(part) >= f.Octets {
		r.reached = true
		before := f.Octets - r.octets
		if _, err := to.Write(part[:before]); err != nil {
			return err
		}
		r.octets, part = f.Octets, part[before:]
		if err := r.wait(f.Delay); err != nil {
			return err
		}
		if f.Drop != DropNever {
			return errDropped
		}
	}
	if f != nil && r.reached {
		if err := r.wait(f.Drip * time.Duration(len(part))); err != nil {
			return err
		}
	}
	r.octets += len(part)
	_, err := to.Write(part)
	if err != nil { // it may have said why
		if reply, rerr := r.readReply(); rerr == nil {
			_ = r.say(reply, 0)
		}
	}
	return err
}

// bdat passes a chunk on.
func (r *relay) bdat(line, args string) error {
	size, rest, _ := strings.Cut(strings.TrimSpace(args), " ")
	left, err := strconv.ParseInt(size, 10, 64)
	if err != nil || left < 0 {
		_, err := r.exchange(nil, line)
		return err
	}
	last := strings.EqualFold(strings.TrimSpace(rest), "LAST")
	envelope := strings.Join(r.envelope, "\n")
	if !r.begun {
		r.body, r.begun = r.at(AtBody, envelope), true
	}
	point, text := AtChunk, strings.TrimRight(line, "\r\n")
	if last {
		point, text = AtMessage, envelope
	}
	f := r.at(point, text)
	if !f.local() {
		if _, err := io.WriteString(r.server, line); err != nil {
			return err
		}
	}
	to := r.toServer(f)
	for buf := make([]byte, 4096); left > 0; {
		k, err := r.client.r.Read(buf[:min(left, int64(len(buf)))])
		if err != nil {
			return err
		}
		if err := r.pass(to, buf[:k]); err != nil {
			return err
		}
		left -= int64(k)
	}
	if last {
		return r.messageDone(f)
	}
	if _, err = r.answer(f, theirOwn, func() error { return nil }); err == nil && f.local() {
		r.reset()
		err = r.forget()
	}
	return err
}
