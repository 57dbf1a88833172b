// Command smtpnull is an SMTP server that throws away what it receives, made
// of Posta's smtp or of go-smtp, to aim a load at. It prints its processor
// time on SIGUSR1 and when SIGINT or SIGTERM ends it.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/signal"
	"syscall"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posta-mail/posta/internal/testcert"
	"github.com/posta-mail/posta/smtp"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:2525", "`address` to listen on")
	impl := flag.String("impl", "posta", "posta or go-smtp")
	withTLS := flag.Bool("tls", false, "offer STARTTLS, with a certificate made for the run")
	profile := flag.String("pprof", "", "`address` for net/http/pprof; none if empty")
	flag.Parse()
	var cfg *tls.Config
	if *withTLS {
		var err error
		if cfg, err = serverTLS(); err != nil {
			log.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	if *profile != "" {
		go func() { log.Print(http.ListenAndServe(*profile, nil)) }()
	}
	serve := map[string]func(net.Listener, *tls.Config) error{"posta": servePosta, "go-smtp": serveGoSMTP}[*impl]
	if serve == nil {
		log.Fatalf("no implementation %q", *impl)
	}
	go func() { log.Fatal(serve(l, cfg)) }()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGUSR1)
	for s := range signals {
		user, system := cpu()
		fmt.Printf("%s user %v system %v sum %v\n", *impl, user, system, user+system)
		if s != syscall.SIGUSR1 {
			return
		}
	}
}

// cpu is the processor time used so far.
func cpu() (user, system time.Duration) {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano()), time.Duration(u.Stime.Nano())
}

func serverTLS() (*tls.Config, error) {
	ca, err := testcert.NewAuthority()
	if err != nil {
		return nil, err
	}
	cert, err := ca.Issue("sink.test")
	return &tls.Config{Certificates: []tls.Certificate{cert}}, err
}

func servePosta(l net.Listener, cfg *tls.Config) error {
	s := &smtp.Server{
		Hostname: "sink.test", Handler: postaSink{}, TLSConfig: cfg,
		MaxConns: -1, MaxConnsPerAddr: -1, MaxMessageBytes: 64 << 20,
	}
	return s.Serve(l)
}

// postaSink takes everything.
type postaSink struct{}

func (postaSink) NewSession(context.Context, *smtp.Conn) (smtp.Session, error) {
	return postaSink{}, nil
}

func (postaSink) Mail(context.Context, smtp.Path, smtp.MailOptions) (smtp.Reply, error) {
	return smtp.Reply{}, nil
}

func (postaSink) Rcpt(context.Context, smtp.Path, smtp.RcptOptions) (smtp.Reply, error) {
	return smtp.Reply{}, nil
}

func (postaSink) Data(_ context.Context, r io.Reader) (smtp.Result, error) {
	_, err := io.Copy(io.Discard, r)
	return smtp.Result{}, err
}

func (postaSink) Reset() {}
func (postaSink) Close() {}

func serveGoSMTP(l net.Listener, cfg *tls.Config) error {
	s := gosmtp.NewServer(goSink{})
	s.Domain, s.MaxMessageBytes, s.MaxLineLength, s.TLSConfig = "sink.test", 64<<20, 2000, cfg
	s.ReadTimeout, s.WriteTimeout = 5*time.Minute, 5*time.Minute
	return s.Serve(l)
}

// goSink takes everything.
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
