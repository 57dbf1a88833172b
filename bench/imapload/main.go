// Imapload times what a mail client waits for, against any IMAP server, with a
// client that costs as little as can be: answers are read in large pieces and only
// searched for their last line.
//
//	imapload -addr HOST:PORT -user NAME -password WORD [-n 10000] [-size 4096] [-pid PID]
//
// A fresh mailbox is filled with pipelined APPENDs. With -pid the CPU time of the
// server's process and its living descendants is told beside that of the clock.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	log.SetFlags(0)
	addr := flag.String("addr", "127.0.0.1:143", "`HOST:PORT` of the server, without TLS")
	user := flag.String("user", "", "`NAME` to log in with")
	password := flag.String("password", "", "`WORD` to log in with")
	n := flag.Int("n", 10_000, "messages")
	size := flag.Int("size", 4096, "octets of a message")
	window := flag.Int("window", 32, "APPENDs in flight")
	repeat := flag.Int("repeat", 5, "how often what only reads is done")
	pid := flag.Int("pid", 0, "process whose CPU time is told")
	flag.Parse()
	c, err := net.Dial("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	l := &load{conn: c, r: bufio.NewReaderSize(c, 1<<20), n: *n, size: *size, window: *window, repeat: *repeat, pid: *pid}
	l.line()
	l.do("LOGIN " + *user + " " + *password)
	l.run(fmt.Sprintf("load%d", os.Getpid()))
}

// load is one run over one connection.
type load struct {
	conn                    net.Conn
	r                       *bufio.Reader
	tag                     int
	n, size, window, repeat int
	pid                     int
}

// run times every row.
func (l *load) run(box string) {
	l.do("CREATE " + box)
	l.time("append all", 1, func() int64 { return l.fill(box) })
	l.row("select", l.repeat, "SELECT "+box)
	l.row("fetch flags", l.repeat, "FETCH 1:* (FLAGS)")
	l.row("uid fetch flags", l.repeat, "UID FETCH 1:* (UID FLAGS)")
	l.row("fetch envelope", l.repeat, "FETCH 1:* (ENVELOPE)")
	l.row("fetch all+bodystructure", l.repeat, "FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)")
	l.row("fetch header fields", l.repeat, "FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT FROM DATE)])")
	l.row("fetch body.peek[]", l.repeat, "FETCH 1:* (BODY.PEEK[])")
	l.row("search unseen", l.repeat, "SEARCH UNSEEN")
	l.row("search subject", l.repeat, "SEARCH SUBJECT topic17")
	l.row("search text, no hit", l.repeat, "SEARCH TEXT zebraxyz")
	l.row("search text, hit", l.repeat, "SEARCH TEXT topic17")
	l.row("store +seen", 1, `STORE 1:* +FLAGS.SILENT (\Seen)`)
	l.row("store -seen", 1, `STORE 1:* -FLAGS.SILENT (\Seen)`)
	l.row("copy 1:1000", 1, "COPY 1:1000 "+box)
	l.do("SELECT " + box)
	l.time("200 x fetch one", l.repeat, func() (octets int64) {
		for i := range 200 {
			octets += l.do(fmt.Sprintf("FETCH %d (FLAGS)", i*(l.n/200)+1))
		}
		return octets
	})
	l.time("500 x noop", l.repeat, func() (octets int64) {
		for range 500 {
			octets += l.do("NOOP")
		}
		return octets
	})
	l.do(`STORE 1:1000 +FLAGS.SILENT (\Deleted)`)
	l.row("expunge 1000", 1, "EXPUNGE")
	l.do("CLOSE")
	l.do("DELETE " + box)
}

func (l *load) row(name string, repeat int, command string) {
	l.time(name, repeat, func() int64 { return l.do(command) })
}

// time prints the median of the times that f takes, and the mean of the CPU time.
func (l *load) time(name string, repeat int, f func() int64) {
	var took []time.Duration
	var octets int64
	before := cpu(l.pid)
	for range repeat {
		began := time.Now()
		octets = f()
		took = append(took, time.Since(began))
	}
	spent := (cpu(l.pid) - before) / time.Duration(repeat)
	slices.Sort(took)
	fmt.Printf("%-24s %10.3f ms  min %10.3f  cpu %8.1f  %10d octets\n", name, ms(took[len(took)/2]), ms(took[0]), ms(spent), octets)
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

// do sends a command and returns how many octets the answer has.
func (l *load) do(command string) int64 {
	l.tag++
	tag := fmt.Sprintf("t%d", l.tag)
	if _, err := io.WriteString(l.conn, tag+" "+command+"\r\n"); err != nil {
		log.Fatal(err)
	}
	return l.until(tag)
}

// until reads up to the tagged line, which is the last that comes.
func (l *load) until(tag string) (octets int64) {
	tail := make([]byte, 0, 2048)
	for {
		if _, err := l.r.Peek(1); err != nil {
			log.Fatal(err)
		}
		b, _ := l.r.Peek(l.r.Buffered())
		octets += int64(len(b))
		tail = append(tail[max(0, len(tail)-1024):], b[max(0, len(b)-1024):]...)
		_, _ = l.r.Discard(len(b))
		if bytes.HasSuffix(tail, []byte("\r\n")) {
			line := tail[bytes.LastIndexByte(tail[:len(tail)-2], '\n')+1:]
			if rest, ok := bytes.CutPrefix(line, []byte(tag+" ")); ok {
				check(rest)
				return octets
			}
		}
	}
}

func check(end []byte) {
	if !bytes.HasPrefix(end, []byte("OK")) {
		log.Fatalf("refused: %s", end)
	}
}

// line reads one line.
func (l *load) line() []byte {
	line, err := l.r.ReadSlice('\n')
	if err != nil {
		log.Fatal(err)
	}
	return line
}

// fill appends all messages, with some in flight.
func (l *load) fill(box string) (octets int64) {
	var b []byte
	sent, answered := 0, 0
	for answered < l.n {
		b = b[:0]
		for ; sent < l.n && sent-answered < l.window; sent++ {
			m := message(sent, l.size)
			b = fmt.Appendf(b, "f%d APPEND %s {%d+}\r\n%s\r\n", sent, box, len(m), m)
		}
		if _, err := l.conn.Write(b); err != nil {
			log.Fatal(err)
		}
		for {
			line := l.line()
			octets += int64(len(line))
			if rest, ok := bytes.CutPrefix(line, fmt.Appendf(nil, "f%d ", answered)); ok {
				check(rest)
				answered++
				break
			}
		}
	}
	return octets
}

// message is the i-th message: two alternatives of text.
func message(i, size int) string {
	head := fmt.Sprintf("From: Sender %d <s%d@peer.test>\r\nTo: Rcpt <r@posta.test>\r\nSubject: message number %d about topic%d\r\n"+
		"Date: Mon, 02 Nov 2026 10:%02d:00 +0000\r\nMessage-ID: <m%d@peer.test>\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=xx\r\n\r\n--xx\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n", i%97, i%97, i, i%53, i%60, i)
	tail := "\r\n--xx\r\nContent-Type: text/html\r\n\r\n<p>hi</p>\r\n--xx--\r\n"
	room := max(0, size-len(head)-len(tail))
	body := strings.Repeat(fmt.Sprintf("The quick brown fox %d jumps over the lazy dog and runs.\r\n", i), room/57+1)
	return head + body[:room] + tail
}
