package main

import (
	"context"
	"net/netip"
	"testing"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/mta"
	"github.com/stretchr/testify/require"
)

func TestRule(t *testing.T) {
	newsletter := &mta.Transaction{Phase: mta.AtData, Header: message.ParseHeader([]byte("List-Id: <news.example>\r\n\r\n"))}
	letter := &mta.Transaction{Phase: mta.AtData, Header: message.ParseHeader([]byte("Subject: hello\r\n\r\n"))}
	for hour := range 24 {
		quiet := hour < 6 || hour >= 22
		want := mta.Accept
		if quiet {
			want = mta.Defer
		}
		require.Equal(t, want, quietNights(hour).Check(context.Background(), newsletter).Action, "%d h", hour)
		require.Equal(t, mta.Accept, quietNights(hour).Check(context.Background(), letter).Action, "%d h", hour)
	}
	require.Equal(t, mta.Accept, quietNights(3).Check(context.Background(), &mta.Transaction{Phase: mta.AtRcpt}).Action)
	require.True(t, trusted(auth.Peer{Remote: netip.MustParseAddrPort("127.0.0.1:1")}))
	require.False(t, trusted(auth.Peer{Remote: netip.MustParseAddrPort("192.0.2.1:1")}))
}
