package main

import (
	"encoding/json"

	"github.com/spf13/cobra"
)

func newStatusCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "status DOMAIN",
		Short: "What the recorder of a guest does and costs, as JSON",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := askGuest(cmd.Context(), args[0], command{Verb: "status"})
			if err != nil {
				return err
			}
			e := json.NewEncoder(c.out)
			e.SetIndent("", "  ")
			return e.Encode(a.Status)
		},
	}
}
