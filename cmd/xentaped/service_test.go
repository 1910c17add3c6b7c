package main

import (
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
