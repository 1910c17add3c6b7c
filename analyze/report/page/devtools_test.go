//go:build !windows

package page

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// devtools is a browser spoken to in the DevTools protocol over a pair of pipes
// (chromium's --remote-debugging-pipe: JSON texts, each ended by a zero byte).
type devtools struct {
	to   *os.File
	from *bufio.Reader
	last int
}

// startBrowser runs a browser until the test and its subtests are done.
func startBrowser(t *testing.T) *devtools {
	t.Helper()
	in, to, err := os.Pipe()
	require.NoError(t, err)
	from, out, err := os.Pipe()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	cmd := exec.CommandContext(ctx, browser(t), append(flags(t.TempDir()), "--remote-debugging-pipe", "about:blank")...)
	cmd.ExtraFiles = []*os.File{in, out} // 3 and 4 in the browser
	require.NoError(t, cmd.Start())
	in.Close()
	out.Close()
	d := &devtools{to: to, from: bufio.NewReaderSize(from, 1<<20)}
	t.Cleanup(func() {
		_, _ = to.WriteString(`{"id":1000000,"method":"Browser.close"}` + "\x00")
		to.Close()
		_ = cmd.Wait()
		cancel()
		from.Close()
	})
	return d
}

// tab is a page open in a browser.
type tab struct {
	*devtools
	t       *testing.T
	session string
}

// open loads the page of data in a tab of its own, and waits until its script has run.
func (d *devtools) open(t *testing.T, data *Data) *tab {
	t.Helper()
	file := filepath.Join(t.TempDir(), "story.html")
	var b bytes.Buffer
	require.NoError(t, Write(&b, data))
	require.NoError(t, os.WriteFile(file, b.Bytes(), 0o644))
	k := &tab{devtools: d, t: t}
	target := k.call("Target.createTarget", map[string]any{"url": "about:blank"})["targetId"]
	k.session = k.call("Target.attachToTarget", map[string]any{"targetId": target, "flatten": true})["sessionId"].(string)
	k.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": 1400, "height": 900, "deviceScaleFactor": 1, "mobile": false})
	k.call("Emulation.setFocusEmulationEnabled", map[string]any{"enabled": true})
	k.call("Page.navigate", map[string]any{"url": "file://" + file})
	for k.eval(`document.documentElement?.dataset.ready === 'true'`) != true {
		time.Sleep(20 * time.Millisecond) // the limit of startBrowser ends this
	}
	return k
}

// call is one method of the protocol; what the browser tells unasked is passed over.
func (k *tab) call(method string, params map[string]any) map[string]any {
	k.t.Helper()
	k.last++
	m := map[string]any{"id": k.last, "method": method, "params": params}
	if k.session != "" {
		m["sessionId"] = k.session
	}
	b, err := json.Marshal(m)
	require.NoError(k.t, err)
	_, err = k.to.Write(append(b, 0))
	require.NoError(k.t, err)
	for {
		line, err := k.from.ReadBytes(0)
		require.NoError(k.t, err, method)
		var r struct {
			ID     int
			Result map[string]any
			Error  *struct{ Message string }
		}
		require.NoError(k.t, json.Unmarshal(line[:len(line)-1], &r))
		if r.ID == k.last {
			require.Nil(k.t, r.Error, method)
			return r.Result
		}
	}
}

// eval runs an expression in the page and returns its value.
func (k *tab) eval(js string) any {
	k.t.Helper()
	r := k.call("Runtime.evaluate", map[string]any{"expression": js, "returnByValue": true, "awaitPromise": true})
	require.Nil(k.t, r["exceptionDetails"], js)
	return r["result"].(map[string]any)["value"]
}

// press presses and releases a key as a keyboard does.
func (k *tab) press(key string, code int) {
	k.t.Helper()
	m := map[string]any{"key": key, "code": key, "windowsVirtualKeyCode": code, "type": "keyDown"}
	if len(key) == 1 || key == "Enter" {
		m["text"] = map[bool]string{true: key, false: "\r"}[len(key) == 1]
	}
	k.call("Input.dispatchKeyEvent", m)
	k.call("Input.dispatchKeyEvent", map[string]any{"key": key, "code": key, "windowsVirtualKeyCode": code, "type": "keyUp"})
}

// focus names what has the keyboard.
func (k *tab) focus() string {
	k.t.Helper()
	return fmt.Sprint(k.eval(`(e => e.id || e.value || e.tagName.toLowerCase())(document.activeElement)`))
}
