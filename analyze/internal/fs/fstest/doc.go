// Package fstest is the contract suite of fs.Filesystem: ground-truth manifests,
// recorded traces, a model that is kept up to date from the deltas alone, and
// damaged copies of images. A filesystem's own tests are a few lines on it.
package fstest
