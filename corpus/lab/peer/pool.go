package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"
)

// pool is a mining pool that speaks Stratum: a job for whoever logs in, and
// thanks for every share.
type pool struct{ j *journal }

const job = `{"job_id":"1","blob":"0e0e` + "%060d" + `","target":"b88d0600","height":3000000,"algo":"rx/0","seed_hash":"%064d"}`

func (p pool) serve(ctx context.Context, l net.Listener) error {
	return accept(ctx, l, func(raw net.Conn) {
		c := count(raw)
		_ = c.SetDeadline(time.Now().Add(time.Hour))
		lines := bufio.NewScanner(c)
		shares := 0
		for lines.Scan() {
			var request struct {
				ID     int    `json:"id"`
				Method string `json:"method"`
			}
			if json.Unmarshal(lines.Bytes(), &request) != nil {
				break
			}
			answer := `{"status":"OK"}`
			if request.Method == "login" {
				answer = `{"id":"1","status":"OK","job":` + fmt.Sprintf(job, 1, 2) + `}`
			} else {
				shares++
			}
			if _, err := fmt.Fprintf(c, `{"id":%d,"jsonrpc":"2.0","error":null,"result":%s}`+"\n", request.ID, answer); err != nil {
				break
			}
			if shares == 0 {
				// It stays for as long as the guest lives: the journal names it now.
				k := c.conversation("pool", "opened")
				k.Opened = true
				p.j.add(k)
			}
		}
		p.j.add(c.conversation("pool", fmt.Sprintf("%d shares", shares)))
	})
}
