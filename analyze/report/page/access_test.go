//go:build !windows

package page

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Virtual key codes (KeyboardEvent.keyCode, UI Events §9).
const (
	keyTab, keyEnter, keyEscape = 9, 13, 27
	keyEnd, keyHome             = 35, 36
	keyUp, keyDown              = 38, 40
	keySlash                    = 191
)

// selected is the text of the selected row, and how many there are.
const selected = `(r => r.length === 1 ? r[0].innerText : r.length + ' rows')(document.querySelectorAll('[role=row][aria-selected=true]'))`

// TestPageInABrowser works the page as people do who have no pointer, do not see, or
// have much to look through.
func TestPageInABrowser(t *testing.T) {
	d := startBrowser(t)
	t.Run("keyboard", func(t *testing.T) { keyboard(t, d.open(t, sample())) })
	t.Run("screen reader", func(t *testing.T) { screenReader(t, d.open(t, sample())) })
	t.Run("light and dark", func(t *testing.T) { lightAndDark(t, d.open(t, severities())) })
	t.Run("many events", func(t *testing.T) { manyEvents(t, d.open(t, large(100_000))) })
}

// keyboard: everything can be reached and worked without a pointer.
func keyboard(t *testing.T, k *tab) {
	var order []string
	for range 11 {
		k.press("Tab", keyTab)
		order = append(order, k.focus())
	}
	require.Equal(t, []string{"q", "finding", "process", "file", "conn", "kernel", "zoomin", "zoomout", "fit", "theme", "grid"}, order, "in the order they stand in")

	k.press("Home", keyHome)
	first := k.eval(selected)
	k.press("ArrowDown", keyDown)
	second := k.eval(selected)
	require.NotEqual(t, first, second)
	k.press("ArrowUp", keyUp)
	require.Equal(t, first, k.eval(selected))
	k.press("End", keyEnd)
	last := k.eval(selected)
	require.NotEqual(t, first, last)
	k.press("ArrowDown", keyDown)
	require.Equal(t, last, k.eval(selected), "the end is the end")
	require.Equal(t, true, k.eval(`(g => document.getElementById(g.getAttribute('aria-activedescendant')).getAttribute('aria-selected') === 'true')(document.getElementById('grid'))`))

	k.press("Enter", keyEnter)
	require.Equal(t, "detail", k.focus(), "Enter goes to the evidence")
	k.press("Tab", keyTab)
	require.Equal(t, "button", k.focus(), "and Tab to its neighbours")
	k.press("Enter", keyEnter)
	require.NotEqual(t, last, k.eval(selected), "a neighbour is chosen")
	k.press("Escape", keyEscape)
	require.Equal(t, "grid", k.focus(), "Escape goes back to the list")

	k.press("/", keySlash)
	require.Equal(t, "q", k.focus())
	k.call("Input.insertText", map[string]any{"text": "gnp.exe"})
	require.Contains(t, k.eval(`document.getElementById('status').textContent`), "4 of 48 events")
	require.Contains(t, k.eval(selected), "gnp.exe", "what is selected is among what is shown")
	k.press("Enter", keyEnter)
	require.Equal(t, "grid", k.focus(), "Enter goes to what was found")
	k.press("/", keySlash)
	k.press("Escape", keyEscape)
	require.Equal(t, "", k.eval(`document.getElementById('q').value`))
	require.Contains(t, k.eval(`document.getElementById('status').textContent`), "48 of 48 events")
}

// node is one node of the accessibility tree, as a screen reader is given it.
type node struct {
	id, role, name string
	prop           map[string]any
	children       []any
}

func (k *tab) tree() map[string]*node {
	k.t.Helper()
	value := func(v any) any {
		if m, ok := v.(map[string]any); ok {
			return m["value"]
		}
		return nil
	}
	all := map[string]*node{}
	for _, x := range k.call("Accessibility.getFullAXTree", nil)["nodes"].([]any) {
		m := x.(map[string]any)
		if m["ignored"] == true {
			continue
		}
		n := &node{id: m["nodeId"].(string), prop: map[string]any{}}
		n.role, _ = value(m["role"]).(string)
		n.name, _ = value(m["name"]).(string)
		n.children, _ = m["childIds"].([]any)
		if ps, ok := m["properties"].([]any); ok {
			for _, p := range ps {
				p := p.(map[string]any)
				n.prop[p["name"].(string)] = value(p["value"])
			}
		}
		all[n.id] = n
	}
	return all
}

// screenReader looks at the page through the accessibility tree: every control
// has a role and a name, the events are a grid of rows, and what is chosen is in a
// region that is read out.
func screenReader(t *testing.T, k *tab) {
	k.eval(`document.getElementById('grid').focus()`)
	k.press("Home", keyHome)
	roles := map[string]int{}
	nodes := k.tree()
	var grid, live *node
	for _, n := range nodes {
		roles[n.role]++
		if n.prop["focusable"] == true && n.role != "RootWebArea" {
			require.NotEmpty(t, n.name, "%s without a name", n.role)
			require.NotContains(t, []string{"generic", "none", "div"}, n.role, n.name)
		}
		switch {
		case n.role == "grid":
			grid = n
		case n.name == "Selected event":
			live = n
		}
	}
	for role, least := range map[string]int{"searchbox": 1, "checkbox": 5, "button": 5, "grid": 1, "row": 10, "gridcell": 40, "status": 1, "heading": 2, "banner": 1, "main": 1, "search": 1} {
		require.GreaterOrEqual(t, roles[role], least, role)
	}
	require.Equal(t, "Events in time order", grid.name)
	require.Contains(t, grid.prop, "activedescendant", "the row that the keys are on")
	chosen := 0
	for _, n := range nodes {
		if n.role == "row" {
			if n.prop["selected"] == true {
				chosen++
			}
			require.Len(t, n.children, 4)
		}
	}
	require.Equal(t, 1, chosen)
	require.Equal(t, "polite", live.prop["live"])
	said := k.eval(`document.getElementById('detail').innerText`).(string)
	cells := strings.Split(k.eval(selected).(string), "\n")
	require.True(t, slices.ContainsFunc(cells, func(c string) bool { return len(c) > 5 && strings.Contains(said, c) }), "%q is read out: %q", cells, said)
	require.Equal(t, "48", k.eval(`document.getElementById('grid').getAttribute('aria-rowcount')`))
}

// contrasts gives every text on the page whose contrast with what is behind it is
// below 4.5 (WCAG 2.2, 1.4.3; relative luminance as it defines it), and the words
// on the timeline, which stand on the colours of their lanes as it blends them.
const contrasts = `(() => {
  const rgb = s => s.startsWith('#') ? s.match(s.length < 5 ? /[0-9a-f]/gi : /[0-9a-f]{2}/gi).map(h => parseInt(h.length < 2 ? h + h : h, 16)) : s.match(/[\d.]+/g).map(Number);
  const lum = c => c.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => { const [x, y] = [lum(a), lum(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const blend = (c, on, a) => c.slice(0, 3).map((v, i) => v * a + on[i] * (1 - a));
  const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return rgb('#fff'); };
  const low = []; let seen = 0;
  for (const e of document.body.querySelectorAll('*')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.getClientRects().length) continue;
    seen++;
    const r = ratio(rgb(getComputedStyle(e).color), behind(e));
    if (r < 4.5) low.push(e.className + ' ' + e.textContent.slice(0, 20) + ' ' + r.toFixed(2));
  }
  const css = getComputedStyle(document.documentElement), v = n => rgb(css.getPropertyValue('--' + n).trim());
  for (const n of ['process', 'kernel', 'file', 'conn', 'gap']) {
    const on = n === 'gap' ? v(n) : blend(v(n), v('bg'), +css.getPropertyValue('--lane')), r = ratio(v('fg'), on);
    if (r < 4.5) low.push('lane ' + n + ' ' + r.toFixed(2));
  }
  for (const n of ['fg', 'dim', 'snap']) if (ratio(v(n), v('bg')) < 4.5) low.push('timeline ' + n + ' ' + ratio(v(n), v('bg')).toFixed(2));
  return {low, seen, bg: lum(v('bg'))};
})()`

// severities has a finding of each.
func severities() *Data {
	d := sample()
	for i, s := range []string{"critical", "high", "medium", "low", "info"} {
		d.Findings[i].Severity = s
	}
	return d
}

// lightAndDark: the page takes the system's wish, the button turns it round,
// and either way what is written can be read.
func lightAndDark(t *testing.T, k *tab) {
	k.eval(`document.getElementById('kernel').click()`)
	for i, scheme := range []string{"light", "dark", "light", "dark"} {
		k.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}})
		dark := scheme == "dark"
		if i == 2 {
			k.eval(`document.getElementById('theme').click()`) // from here on it is as the button says: dark
			dark = true
		}
		r := k.eval(contrasts).(map[string]any)
		require.Empty(t, r["low"], "%s, look %d", scheme, i)
		require.Greater(t, r["seen"], 60.0)
		require.Equal(t, dark, r["bg"].(float64) < 0.2, "%s, look %d", scheme, i)
	}
}

// manyEvents: of 100,000 events one is found and chosen, and the
// page never holds more elements than are in sight.
func manyEvents(t *testing.T, k *tab) {
	few := func() {
		t.Helper()
		require.Less(t, k.eval(`document.querySelectorAll('*').length`), 500.0, "only rows in sight exist")
	}
	few()
	k.press("/", keySlash)
	k.call("Input.insertText", map[string]any{"text": "data/77777"})
	require.Contains(t, k.eval(`document.getElementById('status').textContent`), "1 of 100048 events")
	k.press("Enter", keyEnter)
	require.Contains(t, k.eval(selected), "/srv/data/77777")
	require.Contains(t, k.eval(`document.getElementById('detail').innerText`), "/srv/data/77777")
	k.press("/", keySlash)
	k.press("Escape", keyEscape)
	require.Contains(t, k.eval(`document.getElementById('status').textContent`), "100048 of 100048")
	require.Contains(t, k.eval(selected), "/srv/data/77777", "it stays chosen, and in sight")
	k.press("Enter", keyEnter)
	k.press("End", keyEnd)
	require.Contains(t, k.eval(selected), "/srv/data/99999")
	few()
	require.Equal(t, true, k.eval(`document.getElementById('lanes').width > 0`))
}
