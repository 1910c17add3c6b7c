package main

import (
	_ "embed"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// newManualCommand prints a manual page, of which service has a copy.
func newManualCommand(c *console) *cobra.Command {
	var configuration bool
	cmd := &cobra.Command{
		Use:    "manual",
		Short:  "Print the manual page",
		Hidden: true,
		Args:   exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if configuration {
				return writeConfigManual(c.out)
			}
			return writeManual(c.out, cmd.Root())
		},
	}
	cmd.Flags().BoolVar(&configuration, "configuration", false, "of the configuration file")
	return cmd
}

//go:embed service/xentaped.yaml
var exampleConfig string

// writeConfigManual writes the page of the configuration file: the example says it all.
func writeConfigManual(w io.Writer) error {
	m := &manual{}
	m.line(".TH XENTAPED.YAML 5 \"\" \"xentape %s\" \"File formats\"", version)
	m.section("NAME")
	m.line("xentaped.yaml \\- %s", roff("configuration of the flight recorder of Xen guests"))
	m.section("DESCRIPTION")
	m.text(`A file in YAML, by default /etc/xentape/xentaped.yaml, that "xentaped run" reads when it starts. Sizes are bytes, or have a unit: KiB, MiB, GiB, TiB. Durations have one: 90s, 10m, 6h.`)
	m.section("KEYS")
	m.line(".EX\n%s.EE", roff(exampleConfig))
	m.section("SEE ALSO")
	m.line(".BR xentaped (8)")
	_, err := io.WriteString(w, m.b.String())
	return err
}

// writeManual writes the page as man(7) source, from the commands as they are.
func writeManual(w io.Writer, root *cobra.Command) error {
	m := &manual{}
	m.line(".TH XENTAPED 8 \"\" \"xentape %s\" \"System administration\"", version)
	m.section("NAME")
	m.line("xentaped \\- %s", roff(strings.ToLower(root.Short[:1])+root.Short[1:]))
	m.section("SYNOPSIS")
	for _, cmd := range root.Commands() {
		if cmd.IsAvailableCommand() && cmd.Name() != "help" {
			m.line(".B xentaped %s", roff(cmd.Use))
			m.line(".br")
		}
	}
	m.section("DESCRIPTION")
	m.text(root.Long)
	m.section("COMMANDS")
	for _, cmd := range root.Commands() {
		if cmd.IsAvailableCommand() && cmd.Name() != "help" {
			m.command(cmd)
		}
	}
	m.section("FILES")
	for _, f := range [][2]string{
		{"/etc/xentape/xentaped.yaml", "Configuration of the service; every key is in the example that is shipped."},
		{"/var/lib/xentape", "The service's segments: UUID/TIME.xtape, and links to those that are kept in UUID/pinned."},
		{"/run/xentape", "Control sockets, and the guard's notes of what it has paused."},
	} {
		m.line(".TP\n.I %s", roff(f[0]))
		m.text(f[1])
	}
	m.section("NOTES")
	m.text(`A recorder is three processes. The broker opens what takes privilege, and makes the hypercalls that look. The guard pauses guests and lets them run again, whatever becomes of the recorder. The recorder itself, which handles what guests hold, has no capabilities, sees of the file system only where it writes, and is limited by seccomp; where the kernel lacks one of these, it says so when it starts.

Who holds a tape holds all secrets of the guest. Use --recipient.`)
	m.section("SEE ALSO")
	m.line(".BR xentaped.yaml (5),\n.BR xl (1),\n.BR xenstore-write (1),\n.BR systemd.service (5)")
	_, err := io.WriteString(w, m.b.String())
	return err
}

type manual struct{ b strings.Builder }

func (m *manual) line(format string, args ...any) { fmt.Fprintf(&m.b, format+"\n", args...) }
func (m *manual) section(name string)             { m.line(".SH %s", name) }

// text writes paragraphs.
func (m *manual) text(s string) {
	for i, paragraph := range strings.Split(strings.TrimSpace(s), "\n\n") {
		if i > 0 {
			m.line(".PP")
		}
		m.line("%s", roff(strings.ReplaceAll(paragraph, "\n", " ")))
	}
}

func (m *manual) command(cmd *cobra.Command) {
	m.line(".SS xentaped %s", roff(cmd.Use))
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	m.text(long)
	if cmd.HasAvailableLocalFlags() {
		m.line(".PP\n.EX\n%s\n.EE", roff(strings.TrimRight(cmd.LocalFlags().FlagUsagesWrapped(96), "\n")))
	}
	if cmd.Example != "" {
		m.line(".PP\n.EX\n%s\n.EE", roff(cmd.Example))
	}
}

// roff escapes what man(7) source would take for its own.
func roff(s string) string {
	s = strings.ReplaceAll(s, `\`, `\e`)
	s = strings.ReplaceAll(s, "-", `\-`)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
