package tests

import "testing"

// maarReport is what of the maar lab's report the test reads.
type maarReport struct {
	labReport
	Mobility struct {
		Places []struct {
			Router    string `json:"router"`
			Native    int    `json:"packets_of_local_prefix_not_tunnelled"`
			Tunnelled int    `json:"packets_of_local_prefix_tunnelled"`
			Seen      []struct {
				From, To string
			} `json:"tunnels_seen"`
		} `json:"places"`
	} `json:"network_based_mobility"`
}

// TestMAARLab moves an unmodified Linux host between three MAARs, with a carrier flap and with its interface set down and up.
// All that the lab expects must hold; a machine too busy for a host to be answered in time gets a second try.
func TestMAARLab(t *testing.T) {
	needLab(t)
	twice(t, func() ([]string, []byte) {
		var report maarReport
		out := runLab(t, &report, "maar", "--cmd-mode", "proxy")
		return report.wrong(), out
	})
}

// wrong lists what is not as it must be.
func (r *maarReport) wrong() (wrong []string) {
	maintained := 0
	for _, f := range r.Flows {
		if f.Outcome == "maintained" {
			maintained++
		}
	}
	if maintained != 4 || len(r.Expectations) < 30 || r.Failure != "" {
		wrong = append(wrong, "not all of four connections were maintained, or the lab failed: "+r.Failure)
	}
	wrong = append(wrong, r.unmet(false)...)
	// Sessions of the places before must have gone through a tunnel each way, or the lab has seen nothing.
	routers := []string{"maar1", "maar2", "maar3", "maar1"}
	if len(r.Mobility.Places) != len(routers) {
		return append(wrong, "not all of four places were seen")
	}
	for i, p := range r.Mobility.Places {
		if p.Router != routers[i] || p.Native == 0 || p.Tunnelled != 0 {
			wrong = append(wrong, "place of "+p.Router+": the local prefix was not used, or tunnelled")
		}
		in, out := false, false
		for _, t := range p.Seen {
			in, out = in || t.To == p.Router, out || t.From == p.Router
		}
		if i > 0 && !(in && out) {
			wrong = append(wrong, "place of "+p.Router+": no tunnel to an earlier MAAR was in use")
		}
	}
	return wrong
}
