package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestJourney(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, journey(t.Context(), &out), out.String())
	for _, station := range told {
		assert.Contains(t, out.String(), station)
	}
	assert.Contains(t, out.String(), "the bounce has come back: Diagnostic-Code: smtp; 550 5.1.1")
}
