package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posta-mail/posta/smtp"
)

// Both servers throw away what they receive; the load is the same raw client
// over loopback.

func postaSink(b *testing.B) string {
	l := listen(b)
	srv := &smtp.Server{
		Hostname: "sink.test", MaxConnsPerAddr: -1, MaxMessageBytes: 64 << 20, MaxNoops: -1,
		Handler: smtp.Receive(func(smtp.Path) bool { return true }, func(_ context.Context, _ *smtp.Envelope, r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		}),
	}
	go srv.Serve(l)
	b.Cleanup(func() { srv.Close() })
	return l.Addr().String()
}

type goSink struct{}

func (goSink) NewSession(*gosmtp.Conn) (gosmtp.Session, error) { return goSink{}, nil }
func (goSink) Mail(string, *gosmtp.MailOptions) error          { return nil }
func (goSink) Rcpt(string, *gosmtp.RcptOptions) error          { return nil }
func (goSink) Reset()                                          {}
func (goSink) Logout() error                                   { return nil }
func (goSink) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

func goSMTPSink(b *testing.B) string {
	l := listen(b)
	srv := gosmtp.NewServer(goSink{})
	srv.Domain, srv.MaxMessageBytes, srv.MaxLineLength = "sink.test", 64<<20, 2000
	go srv.Serve(l)
	b.Cleanup(func() { srv.Close() })
	return l.Addr().String()
}

func listen(b *testing.B) net.Listener {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// client is a raw SMTP client after EHLO.
type client struct {
	net.Conn
	r *bufio.Reader
}

func dial(b *testing.B, addr string) *client {
	b.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	c := &client{nc, bufio.NewReader(nc)}
	c.reply(b, "220")
	fmt.Fprintf(c, "EHLO bench.test\r\n")
	c.reply(b, "250")
	return c
}

func (c *client) reply(b *testing.B, code string) {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, code) {
			b.Errorf("want %s, got %q %v", code, line, err)
			return
		}
		if line[3] == ' ' {
			return
		}
	}
}

var sinks = []struct {
	name  string
	start func(*testing.B) string
}{{"posta", postaSink}, {"go-smtp", goSMTPSink}}

func message(size int) string {
	line := strings.Repeat("x", 70) + "\r\n"
	return "Subject: bench\r\n\r\n" + strings.Repeat(line, size/len(line)) + ".\r\n"
}

// BenchmarkSMTPLockStep waits for each reply.
func BenchmarkSMTPLockStep(b *testing.B) {
	for _, s := range sinks {
		b.Run("4KiB/"+s.name, func(b *testing.B) {
			c, body := dial(b, s.start(b)), message(4<<10)
			defer c.Close()
			b.ReportAllocs()
			for b.Loop() {
				for _, step := range []struct{ say, code string }{
					{"MAIL FROM:<a@x.test>\r\n", "250"}, {"RCPT TO:<b@y.test>\r\n", "250"}, {"DATA\r\n", "354"}, {body, "250"},
				} {
					io.WriteString(c, step.say)
					c.reply(b, step.code)
				}
			}
		})
	}
}

// BenchmarkSMTPParallel is 20 connections, each pipelining its commands.
func BenchmarkSMTPParallel(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int
	}{{"4KiB", 4 << 10}, {"1MiB", 1 << 20}} {
		for _, s := range sinks {
			b.Run(size.name+"/"+s.name, func(b *testing.B) {
				addr, body := s.start(b), message(size.bytes)
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				b.SetParallelism(10)
				b.RunParallel(func(pb *testing.PB) {
					c := dial(b, addr)
					defer c.Close()
					for pb.Next() {
						io.WriteString(c, "MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n")
						c.reply(b, "250")
						c.reply(b, "250")
						c.reply(b, "354")
						io.WriteString(c, body)
						c.reply(b, "250")
					}
				})
			})
		}
	}
}
