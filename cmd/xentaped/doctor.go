package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/xentape/xentape/capture/host"
)

func newDoctorCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor [DOMAIN]",
		Short: "What this host and guest allow, each with its reason",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := host.Open(host.Options{})
			if err != nil {
				return err
			}
			defer h.Close()
			for _, a := range h.HypervisorAttrs() {
				fmt.Fprintf(c.out, "%s: %s\n", a.Name, a.Value)
			}
			guests, err := h.Guests(cmd.Context())
			if err != nil {
				return err
			}
			for _, g := range guests {
				fmt.Fprintf(c.out, "%+v\n", *g)
			}
			return nil
		},
	}
}
