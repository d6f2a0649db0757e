// Package database is the Central Mobility Database (CMD, RFC 8885) as a signaling.Machine: it holds a mobility session for
// every mobile node of the domain and tells MAARs of each other, as a relay (section 3.2), a locator (3.3) or a proxy (3.4).
// For Proxy Binding Updates without flag D it is a plain local mobility anchor (RFC 5213 section 5), with the data path.
//
// A message comes in through Handle, is checked for form (receive.go) and authenticated (authenticate.go), and put in order
// (order.go). Flag D then says which of two services it is for: register.go changes the session of a MAAR's mobile node,
// notify.go and exchange.go keep its previous MAARs (P-MAARs) told; plain.go is the local mobility anchor. reply.go writes all
// answers.
//
// # Messages with flag D
//
// Every PBU has flags A, P and D; every PBA has P and D. H, L, K, M, R and the others are 0. Options come in the order given
// here; receivers take them in any order, but for groups. A prefix is always a /64. A group is
//
//	Anchored Prefix (65), Home Network Prefix (22) or Previous MAAR (67)
//	[DLIF Link-Local Address (69)]   of the router that the anchor of that prefix is to the mobile node, in fe80::/64
//	[DLIF Link-Layer Address (70)]   at most 8 octets
//	[Local Prefix (66) ...]          at most 4, reachable by that anchor alone
//
// 66, 69 and 70 belong to the last 65, 22 or 67 before them. A MAAR registers at most 4 prefixes. Where a message would become longer
// than 2048 octets its Local Prefix options are left out.
//
// Lifetimes of 0 end, others register. Every message ends with
//
//	Mobility Message Replay Protection (10), here MESG-ID
//	Mobility Message Authentication (9), MN-HA, by the association of sender and receiver
//
// computed with the sender's address (PBU) or the receiver's (PBA) as care-of address, thus that of the PBU's sender in both,
// and :: as home address. A PBA repeats the PBU's Sequence Number, MESG-ID, MN-ID, Handoff Indicator and Access Technology
// Type, and its Timestamp unless it refuses it; a refusal with status 144 has RFC 4285's MESG-ID. A PBU's MESG-ID is later
// than that of every PBU before from the same sender for the same mobile node.
//
// MAAR to CMD, PBU: registration, refresh (Handoff Indicator 5), de-registration of the session (lifetime 0):
//
//	Mobile Node Identifier (8)
//	group with Anchored Prefix, one or more: what this MAAR anchors for the mobile node now
//	Handoff Indicator (23)
//	Access Technology Type (24)
//	[Timestamp (27)]                       if the domain orders by timestamp
//	[Mobile Node Link-layer Identifier (25)]
//
// A retransmission has a new MESG-ID and Timestamp; its Sequence Number is the same if it has a Timestamp, else a greater one
// (RFC 5213 section 6.9.4). What else is in it may have changed. A de-registration needs no group.
//
// MAAR to CMD, PBU: clean-up of prefixes of P-MAARs that the mobile node uses no more, from its S-MAAR. Lifetime 0, and one
// or more Previous MAAR options; no Anchored Prefix:
//
//	Mobile Node Identifier, Previous MAAR ..., Handoff Indicator (5), Access Technology Type, [Timestamp]
//
// The session goes on. The PBA has status 0, a lifetime of 0 and the same Previous MAAR options; what the session does not
// have is as good as cleaned up. A Previous MAAR may be the S-MAAR itself, for a prefix it anchored earlier. From anybody else, or
// without a session, it is refused with status 154.
//
// CMD to MAAR, PBA:
//
//	Mobile Node Identifier
//	group with Anchored Prefix, one or more: those of the PBU, as they were stored
//	Handoff Indicator
//	Access Technology Type
//	[Timestamp], [Mobile Node Link-layer Identifier]   if the PBU had them
//	group with Previous MAAR, any number                only if accepted
//
// There may be several PBAs for one PBU: each has the Sequence Number and MESG-ID of the latest PBU that came in by then.
// The P-MAARs of a PBA with Handoff Indicator 5 are all there are; those in another come in addition to what was said since
// the handoff. A MAAR may refresh at any time to be told again. Which P-MAARs are in a PBA, and when it comes:
//
//   - Refresh: at once, all that count. In proxy mode those are all, else those that have acknowledged.
//   - Handoff, relay: when all P-MAARs have acknowledged or AggregationTimeout is over, those that have; for each that
//     acknowledges later, a PBA with that one.
//   - Handoff, locator: none, since each P-MAAR sends its own PBA. But when AggregationTimeout is over and one has not
//     acknowledged to the CMD, or when the S-MAAR sends its PBU again, one as in relay mode. Later ones speak for themselves.
//   - Handoff, proxy: at once, all of them.
//   - No P-MAAR: at once.
//
// A copy of a MAAR's latest PBU about a mobile node gets no PBA.
//
// A Previous MAAR that is the receiver itself has a prefix that it anchored earlier and did not list: it may take it up again.
// Refusals repeat the PBU's Anchored Prefix options, or have one of ::/0.
//
// CMD to P-MAAR, PBU: where the mobile node is (lifetime not 0), or the end of the prefixes (0):
//
//	Mobile Node Identifier
//	group with Anchored Prefix, one or more: all that it anchors for the mobile node; those to end if the lifetime is 0
//	Handoff Indicator, Access Technology Type           the S-MAAR's
//	[Timestamp]                                         the CMD's time of day, if the domain orders by timestamp
//	[Mobile Node Link-layer Identifier]                 the S-MAAR's
//	[Serving MAAR (68)]                                 always if the lifetime is not 0; if it is, when there is an S-MAAR
//
// Its Sequence Number is that of the S-MAAR's latest PBU, in retransmissions too; what orders those of one CMD for one mobile node is
// their MESG-ID. A MAAR that has forgotten a prefix takes it up again from the group, unless another mobile node has it now. The
// CMD never names the receiver as Serving MAAR. With a lifetime of 0 it also goes to the S-MAAR, if the session is removed by
// an operator.
//
// P-MAAR to CMD, PBA:
//
//	Mobile Node Identifier
//	group with Home Network Prefix, one or more: those of the PBU
//	Handoff Indicator, Access Technology Type, [Timestamp], [Mobile Node Link-layer Identifier]   those of the PBU
//	[Serving MAAR]                                      if the PBU had it
//
// A DLIF or Local Prefixes in a group replace what the CMD knew. A status of 128 or more other than 130, 144, 156 and 157, which
// have the PBU sent again, ends these prefixes.
//
// P-MAAR to S-MAAR, PBA, locator mode: after an acknowledgement with status 0 of a PBU with a lifetime that is not 0:
//
//	the same without Serving MAAR and Timestamp; the Sequence Number is the PBU's, which is the S-MAAR's own
//
// with the association of the two MAARs and, there being no PBU between them to repeat it from, a MESG-ID of the P-MAAR's own
// clock, checked for freshness. The care-of address in the computation is the S-MAAR's.
//
// # Outcomes
//
// De-registration (RFC 8885 section 3.5): only the S-MAAR ends a session, and its P-MAARs are told so. From another MAAR that
// still anchors a prefix, with Method DenyPrevious it is refused with status 154; with RenewPrevious it is accepted with what is
// left of the session's lifetime, a group per Anchored Prefix and a Serving MAAR option, and the MAAR goes on as P-MAAR. If there
// is no session, or the sender anchors nothing in it, it is accepted with a lifetime of 0.
//
// Two MAARs that register one mobile node at once: the later Timestamp (or greater Sequence Number) wins, the other is refused
// with 157 (135) if it comes second. If it came first and waits for P-MAARs, it gets its PBA at once without any and the PBU
// with the Serving MAAR behind it, and must not go on registering unless it sees the mobile node again.
//
// A P-MAAR that does not answer is sent the PBU after 1, 2, 4, 8, 16 and 32 s more, and given up after another 32 s: its prefixes
// leave the session, and the next refresh does not list them. Until then the session goes on without it in relay and
// locator mode, and with it in proxy mode.
package database
