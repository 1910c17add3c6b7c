package main

import "github.com/spf13/cobra"

// verbs lists every verb, in the order in which help shows them.
func verbs(t *terminal) []*cobra.Command {
	return []*cobra.Command{
		newInfoCommand(t),
		newVerifyCommand(t),
		newSalvageCommand(t),
		newProveCommand(t),
		newPsCommand(t),
		newFilesCommand(t),
		newCatCommand(t),
		newConnsCommand(t),
		newStoryCommand(t),
		newWatchCommand(t),
		newAnalyzeCommand(t),
		newImportCommand(t),
		newJoinCommand(t),
		newExportCommand(t),
		newCorpusCommand(t),
	}
}
