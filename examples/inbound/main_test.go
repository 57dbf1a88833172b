package main

import (
	"net"
	"strings"
	"testing"

	"github.com/posta-mail/posta/smtp"
	"github.com/stretchr/testify/require"
)

func TestInbound(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &smtp.Server{Handler: smtp.Receive(func(to smtp.Path) bool { return to.Domain == "app.example" }, receive)}
	go srv.Serve(l)
	defer srv.Close()
	c, err := smtp.Dial(t.Context(), l.Addr().String(), nil)
	require.NoError(t, err)
	defer c.Close()
	env := &smtp.Envelope{
		From: smtp.Path{Local: "alice", Domain: "a.test"},
		To:   smtp.To(smtp.Path{Local: "in", Domain: "app.example"}, smtp.Path{Local: "bob", Domain: "elsewhere.example"}),
	}
	res, err := c.Send(t.Context(), env, strings.NewReader("Subject: hello\r\n\r\nbody\r\n"))
	require.NoError(t, err)
	require.NoError(t, res.Recipients[0])
	require.Error(t, res.Recipients[1], "it is no relay")
}
