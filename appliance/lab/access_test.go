package lab

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A host moves between two plain access routers, once by carrier and once by restart: the lab must see that new connections
// use the new prefix, and that the old ones do not go on.
func TestAccessLab(t *testing.T) {
	needLab(t)
	directory := t.TempDir()
	out, status := runLab(t, "testdata/access.toml", "-o", directory)
	if status != exitFailed || !strings.Contains(out, "\nFAILED\n") {
		t.Fatalf("exit status %d:\n%s", status, out)
	}
	text, err := os.ReadFile(filepath.Join(directory, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var series struct {
		Passed bool
		Runs   []struct {
			Settings map[string]string
			Report   struct {
				Failure string
				Access  struct {
					Places []struct {
						Router    string
						Native    int `json:"packets_of_local_prefix_not_tunnelled"`
						Addresses []struct{ State string }
						Routers   []string `json:"default_routers"`
					}
				} `json:"network_based_mobility"`
				Expectations []struct {
					Name   string
					Passed bool
				}
			}
		}
	}
	if err := json.Unmarshal(text, &series); err != nil {
		t.Fatal(err)
	}
	if len(series.Runs) != 2 || series.Passed {
		t.Fatalf("%d runs, passed: %v", len(series.Runs), series.Passed)
	}
	for i, way := range []string{"carrier", "restart"} {
		r := series.Runs[i]
		places := r.Report.Access.Places
		if r.Settings["way"] != way || r.Report.Failure != "" || len(places) != 2 || places[0].Router != "ar1" || places[1].Router != "ar2" || places[1].Native == 0 {
			t.Fatalf("%s: %+v", way, r)
		}
		// A restart makes the kernel forget the first router and the address with its prefix.
		if want := 2 - i; len(places[1].Addresses) != want || len(places[1].Routers) != want {
			t.Errorf("%s: %d addresses and %d routers at the end, expected %d", way, len(places[1].Addresses), len(places[1].Routers), want)
		}
		expect := map[string]bool{
			"place 2, ar2: the host has an address of the local prefix 2001:db8:2::/64":                   true,
			"udp-2: opened at ar2, it has an address of the local prefix":                                 true,
			"place 2, ar2: nothing with the local prefix is in a tunnel":                                  true,
			"place 2, ar2: the host keeps its addresses of the other MAARs, deprecated":                   false,
			"place 2, ar2: earlier MAARs keep their link-local and link-layer addresses towards the host": false,
			"udp-1: datagrams arrive again both ways after each move":                                     false,
		}
		for _, c := range r.Report.Expectations {
			if want, known := expect[c.Name]; known && c.Passed != want {
				t.Errorf("%s: %s: passed: %v", way, c.Name, c.Passed)
			}
			delete(expect, c.Name)
		}
		if len(expect) > 0 {
			t.Errorf("%s: not judged: %v", way, expect)
		}
		checkPicture(t, filepath.Join(directory, way, "timeline.svg"))
	}
}
