package smtp_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"os"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/smtp"
)

// A metric of connections by state, and the dialogue on record, by two Traces
// that know nothing of each other.
func ExampleJoinTraces() {
	var dialogue bytes.Buffer
	srv := &smtp.Server{
		Hostname: "mx.example.org",
		Handler: smtp.Receive(smtp.ForDomains("example.org"), func(_ context.Context, _ *smtp.Envelope, r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		}),
		ConnState: func(_ auth.Peer, s smtp.ConnState, _ error) { fmt.Println("state:", s) },
		Trace: smtp.JoinTraces(
			smtp.Transcript(&dialogue),
			smtp.LogTranscript(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})), slog.LevelDebug),
			&smtp.Trace{Message: func(_ auth.Peer, m smtp.Transfer) { fmt.Println("octets:", m.Octets, "error:", m.Err) }},
		),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = srv.Serve(l) }()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	r := bufio.NewReader(nc)
	_, _ = r.ReadString('\n') // the greeting
	_, _ = io.WriteString(nc, "EHLO client.example.com\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT 14 LAST\r\nSubject: x\r\n\r\nQUIT\r\n")
	_, _ = io.Copy(io.Discard, r)
	_ = srv.Shutdown(context.Background())
	fmt.Println("the sender is in it:", bytes.Contains(dialogue.Bytes(), []byte(" C: MAIL FROM:<a@example.com>\n")))
	// Output:
	// state: new
	// state: greeted
	// state: idle
	// state: active
	// octets: 14 error: <nil>
	// state: idle
	// state: closed
	// the sender is in it: true
}
