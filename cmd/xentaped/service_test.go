package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExampleConfigurationIsTheDefaults(t *testing.T) {
	text, err := os.ReadFile("service/xentaped.yaml")
	require.NoError(t, err)
	got, err := parseConfig(text)
	require.NoError(t, err)
	want := defaults()
	want.Guests, want.Recipients = []string{}, []string{}
	require.Equal(t, want, *got)
}

func TestManualPageIsOfThisProgram(t *testing.T) {
	want, err := os.ReadFile("service/xentaped.8")
	require.NoError(t, err)
	var got bytes.Buffer
	require.NoError(t, writeManual(&got, newRootCommand(&console{})))
	require.Equal(t, string(want), got.String(), "go generate ./cmd/xentaped writes it anew")
}
