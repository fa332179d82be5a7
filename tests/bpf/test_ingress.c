/* Packet in, verdict and counter out: every shape of packet that the XDP program tells apart. */
#include "tests/bpf/fixture.h"

static struct fx fx;

static const struct fx_flow v4 = {.v6 = false}, v6 = {.v6 = true};

static void start(void)
{
	static const uint16_t slots[] = {0, 1};

	fx_worker(&fx, 0, FX_GENERATION);
	fx_worker(&fx, 1, FX_GENERATION);
	fx_flip(&fx, slots, 2);
}

static int set_up(void **state)
{
	struct fg_steering_config config = fx_config();

	(void)state;
	fx_open(&fx, &config);
	start();
	return 0;
}

static int set_up_acl(void **state)
{
	struct fg_steering_config config = fx_config();

	(void)state;
	config.acl_enabled = true;
	fx_open(&fx, &config);
	start();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	fx_close(&fx);
	return 0;
}

/* What does not look at the family runs for both. */
static void for_both(void (*bend)(struct fx_packet *), int verdict, enum fg_counter counter)
{
	struct fx_packet packet = fx_request(&v4);

	bend(&packet);
	fx_expect(&fx, &packet, verdict, counter);
	packet = fx_request(&v6);
	bend(&packet);
	fx_expect(&fx, &packet, verdict, counter);
}

static void nothing(struct fx_packet *packet)
{
	(void)packet;
}

static void requests_are_steered(void **state)
{
	(void)state;
	for_both(nothing, XDP_REDIRECT, FG_COUNTER_XDP_STEERED);
}

static void vlan_tags(void **state)
{
	(void)state;
	for (int is_v6 = 0; is_v6 <= 1; is_v6++) {
		for (int tags = 0; tags <= 3; tags++) {
			struct fx_flow flow = {.v6 = is_v6, .tags = tags};
			struct fx_packet packet = fx_request(&flow);

			if (!tags)
				fx_expect(&fx, &packet, XDP_REDIRECT, FG_COUNTER_XDP_STEERED);
			else if (tags <= 2)
				fx_expect(&fx, &packet, XDP_PASS, FG_COUNTER_XDP_PASS_FRAME);
			else
				fx_expect(&fx, &packet, XDP_PASS, FG_COUNTER_XDP_PASS_OTHER);
		}
	}
}

static void vlan_tag_cut_off(void **state)
{
	struct fx_flow flow = {.tags = 2};
	struct fx_packet packet = fx_request(&flow);

	(void)state;
	packet.length = 14 + 4 + 3;
	fx_expect(&fx, &packet, XDP_PASS, FG_COUNTER_XDP_PASS_OTHER);
}

static void other_port(struct fx_packet *packet)
{
	fx_put16(packet->bytes + packet->udp + 2, FX_PORT + 1);
}

static void port_zero(struct fx_packet *packet)
{
	fx_put16(packet->bytes + packet->udp + 2, 0);
}

static void other_address(struct fx_packet *packet)
{
	packet->bytes[packet->udp - 1] ^= 0x40; /* the last byte of the destination */
}

static void other_protocol(struct fx_packet *packet)
{
	packet->bytes[packet->ip + (packet->udp - packet->ip == 20 ? 9 : 6)] = IPPROTO_TCP;
}

static void other_ethertype(struct fx_packet *packet)
{
	fx_put16(packet->bytes + packet->ip - 2, ETH_P_ARP);
}

static void ip_cut_off(struct fx_packet *packet)
{
	packet->length = packet->udp - 1;
}

static void ethernet_alone(struct fx_packet *packet)
{
	packet->length = 14;
}

static void what_is_not_ours_passes(void **state)
{
	(void)state;
	for_both(other_port, XDP_PASS, FG_COUNTER_XDP_PASS_OTHER);
	for_both(port_zero, XDP_PASS, FG_COUNTER_XDP_PASS_OTHER);
	for_both(other_address, XDP_PASS, FG_COUNTER_XDP_PASS_OTHER);
	for_both(other_protocol, XDP_PASS, FG_COUNTER_XDP_PASS_OTHER);
	for_both(other_ethertype, XDP_PASS, FG_COUNTER_XDP_PASS_OTHER);
	for_both(ip_cut_off, XDP_PASS, FG_COUNTER_XDP_PASS_OTHER);
	for_both(ethernet_alone, XDP_PASS, FG_COUNTER_XDP_PASS_OTHER);
}

/* Up to the 40 bytes of options that IPv4 allows. */
static void ipv4_options(void **state)
{
	(void)state;
	for (int words = 1; words <= 10; words++) {
		struct fx_packet packet = fx_request(&v4);

		memset(fx_insert(&packet, packet.udp, words * 4), 1, words * 4);
		packet.bytes[packet.ip] = 0x45 + words;
		fx_put16(packet.bytes + packet.ip + 2, packet.length - packet.ip);
		fx_expect(&fx, &packet, XDP_PASS, FG_COUNTER_XDP_PASS_STACK);
		other_address(&packet);
		fx_expect(&fx, &packet, XDP_PASS, FG_COUNTER_XDP_PASS_OTHER);
	}
}

static void ipv4_fragments(void **state)
{
	static const uint16_t fields[] = {0x2000, 0x2001, 0x0001, 0x1fff}; /* first, middle, last */
	struct fx_packet packet = fx_request(&v4);

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		fx_put16(packet.bytes + packet.ip + 6, fields[i]);
		fx_expect(&fx, &packet, XDP_PASS, FG_COUNTER_XDP_PASS_STACK);
	}
	fx_put16(packet.bytes + packet.ip + 6, 0x4000); /* don't fragment: not a fragment */
	fx_expect(&fx, &packet, XDP_REDIRECT, FG_COUNTER_XDP_STEERED);
	fx_put16(packet.bytes + packet.ip + 6, 0x0001);
	other_address(&packet);
	fx_expect(&fx, &packet, XDP_PASS, FG_COUNTER_XDP_PASS_OTHER);
}

static void ipv6_extension_headers(void **state)
{
	static const uint8_t headers[] = {IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_FRAGMENT,
					  IPPROTO_DSTOPTS, IPPROTO_AH,	    135};

	(void)state;
	for (size_t i = 0; i < sizeof(headers); i++) {
		struct fx_packet packet = fx_request(&v6);
		uint8_t *extension = fx_insert(&packet, packet.udp, 8);

		extension[0] = IPPROTO_UDP;
		packet.bytes[packet.ip + 6] = headers[i];
		fx_put16(packet.bytes + packet.ip + 4, packet.length - packet.udp);
		fx_expect(&fx, &packet, XDP_PASS, FG_COUNTER_XDP_PASS_STACK);
		other_address(&packet);
		fx_expect(&fx, &packet, XDP_PASS, FG_COUNTER_XDP_PASS_OTHER);
	}
}

/* Cut anywhere inside: the stack may judge what has no whole UDP header, the rest is short. */
static void cut_frames(void **state)
{
	(void)state;
	for (int is_v6 = 0; is_v6 <= 1; is_v6++) {
		struct fx_packet packet = fx_request(is_v6 ? &v6 : &v4);
		size_t whole = packet.length;

		for (packet.length = packet.udp; packet.length < packet.wire; packet.length++)
			fx_expect(&fx, &packet, XDP_PASS, FG_COUNTER_XDP_PASS_STACK);
		for (; packet.length < whole; packet.length++)
			fx_expect(&fx, &packet, XDP_DROP, FG_COUNTER_XDP_DROP_SHORT);
		fx_expect(&fx, &packet, XDP_REDIRECT, FG_COUNTER_XDP_STEERED);
	}
}

static void udp_length_below_header(struct fx_packet *packet)
{
	fx_put16(packet->bytes + packet->udp + 4, 8 + FG_WIRE_HEADER_BYTES - 1);
}

static void udp_length_zero(struct fx_packet *packet)
{
	fx_put16(packet->bytes + packet->udp + 4, 0);
}

static void udp_length_beyond_ip(struct fx_packet *packet)
{
	fx_put16(packet->bytes + packet->udp + 4, packet->length - packet->udp + 1);
}

static void udp_length_beyond_frame(struct fx_packet *packet)
{
	udp_length_beyond_ip(packet);
	if (packet->udp - packet->ip == 20)
		fx_put16(packet->bytes + packet->ip + 2, packet->length - packet->ip + 1);
	else
		fx_put16(packet->bytes + packet->ip + 4, packet->length - packet->udp + 1);
}

static void udp_length_largest(struct fx_packet *packet)
{
	fx_put16(packet->bytes + packet->udp + 4, 0xffff);
	fx_put16(packet->bytes + packet->ip + (packet->udp - packet->ip == 20 ? 2 : 4), 0xffff);
}

static void ip_length_short(struct fx_packet *packet)
{
	bool is_v4 = packet->udp - packet->ip == 20;

	fx_put16(packet->bytes + packet->ip + (is_v4 ? 2 : 4), is_v4 ? 19 : 0);
}

static void lengths_that_lie(void **state)
{
	(void)state;
	for_both(udp_length_below_header, XDP_DROP, FG_COUNTER_XDP_DROP_SHORT);
	for_both(udp_length_zero, XDP_DROP, FG_COUNTER_XDP_DROP_SHORT);
	for_both(udp_length_beyond_ip, XDP_DROP, FG_COUNTER_XDP_DROP_SHORT);
	for_both(udp_length_beyond_frame, XDP_DROP, FG_COUNTER_XDP_DROP_SHORT);
	for_both(udp_length_largest, XDP_DROP, FG_COUNTER_XDP_DROP_SHORT);
	for_both(ip_length_short, XDP_DROP, FG_COUNTER_XDP_DROP_SHORT);
}

static void padded(struct fx_packet *packet)
{
	fx_insert(packet, packet->length, 7);
}

static void header_alone(struct fx_packet *packet)
{
	bool is_v4 = packet->udp - packet->ip == 20;
	size_t room = 8 + FG_WIRE_HEADER_BYTES;

	packet->length -= FX_PAYLOAD;
	fx_put16(packet->bytes + packet->udp + 4, room);
	fx_put16(packet->bytes + packet->ip + (is_v4 ? 2 : 4), is_v4 ? 20 + room : room);
}

static void lengths_that_are_fine(void **state)
{
	(void)state;
	for_both(padded, XDP_REDIRECT, FG_COUNTER_XDP_STEERED);
	for_both(header_alone, XDP_REDIRECT, FG_COUNTER_XDP_STEERED);
}

static void longer(struct fx_packet *packet)
{
	size_t room = 8 + FG_WIRE_HEADER_BYTES + FX_PAYLOAD + 1;

	packet->length++;
	fx_put16(packet->bytes + packet->udp + 4, room);
	fx_put16(packet->bytes + packet->ip + (packet->udp - packet->ip == 20 ? 2 : 4),
		 packet->udp - packet->ip == 20 ? 20 + room : room);
}

static void payload_is_said_to_be_huge(struct fx_packet *packet)
{
	memset(packet->bytes + packet->wire + FG_WIRE_PAYLOAD_OFFSET, 0xff, 4);
}

/* On skbs, what stands behind the payload may be the next datagram; on frames it is padding. */
static void several_in_one(void **state)
{
	struct fg_host host = {.generic = 1};
	static const uint8_t mac[6] = FX_MAC;

	(void)state;
	for_both(longer, XDP_REDIRECT, FG_COUNTER_XDP_STEERED);
	memcpy((uint8_t *)&host.mac + 2, mac, sizeof(mac));
	assert_int_equal(fg_steering_set_host(&fx.steering, &host), 0);
	for_both(longer, XDP_PASS, FG_COUNTER_XDP_PASS_STACK);
	for_both(nothing, XDP_REDIRECT, FG_COUNTER_XDP_STEERED);
	for_both(padded, XDP_REDIRECT, FG_COUNTER_XDP_STEERED); /* Ethernet's */
	for_both(payload_is_said_to_be_huge, XDP_REDIRECT, FG_COUNTER_XDP_STEERED);
}

/* Each byte of magic, version and type counts; the byte after them does not. */
static void foreign_protocols(void **state)
{
	(void)state;
	for (int is_v6 = 0; is_v6 <= 1; is_v6++) {
		for (size_t i = 0; i < 8; i++) {
			struct fx_packet packet = fx_request(is_v6 ? &v6 : &v4);

			packet.bytes[packet.wire + i] ^= 0x80;
			if (i < 6)
				fx_expect(&fx, &packet, XDP_DROP, FG_COUNTER_XDP_DROP_MAGIC);
			else
				fx_expect(&fx, &packet, XDP_REDIRECT, FG_COUNTER_XDP_STEERED);
		}
	}
}

static void replies_are_foreign(void **state)
{
	struct fx_packet packet = fx_request(&v4);

	(void)state;
	packet.bytes[packet.wire + 5] = FG_WIRE_REPLY;
	fx_expect(&fx, &packet, XDP_DROP, FG_COUNTER_XDP_DROP_MAGIC);
}

/* All but the interface's own address: each bit off, broadcast, groups of both families. */
static void frames_for_others_pass(void **state)
{
	static const uint8_t macs[][6] = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
					  {0x01, 0x00, 0x5e, 0x00, 0x00, 0x01},
					  {0x33, 0x33, 0x00, 0x00, 0x00, 0x01}};

	(void)state;
	for (int is_v6 = 0; is_v6 <= 1; is_v6++) {
		struct fx_packet packet = fx_request(is_v6 ? &v6 : &v4);

		for (int bit = 0; bit < 48; bit++) {
			packet.bytes[bit / 8] ^= 1 << bit % 8;
			fx_expect(&fx, &packet, XDP_PASS, FG_COUNTER_XDP_PASS_FRAME);
			packet.bytes[bit / 8] ^= 1 << bit % 8;
		}
		for (size_t i = 0; i < 3; i++) {
			memcpy(packet.bytes, macs[i], 6);
			fx_expect(&fx, &packet, XDP_PASS, FG_COUNTER_XDP_PASS_FRAME);
		}
	}
}

/* The interface may get another address while the program runs; before it has one, all pass. */
static void interface_addresses_change(void **state)
{
	struct fx_packet packet = fx_request(&v4);
	struct fg_host host = {0};

	(void)state;
	packet.bytes[3] = 7;
	fx_expect(&fx, &packet, XDP_PASS, FG_COUNTER_XDP_PASS_FRAME);
	memcpy((uint8_t *)&host.mac + 2, packet.bytes, 6);
	assert_int_equal(fg_steering_set_host(&fx.steering, &host), 0);
	fx_expect(&fx, &packet, XDP_REDIRECT, FG_COUNTER_XDP_STEERED);
	memset(&host, 0, sizeof(host));
	assert_int_equal(fg_steering_set_host(&fx.steering, &host), 0);
	fx_expect(&fx, &packet, XDP_PASS, FG_COUNTER_XDP_PASS_FRAME);
}

/* What the stack takes for nobody, and its neighbours. */
static void sources(void **state)
{
	static const char *const own[] = {"10.0.0.9", "10.0.0.255", FX_V4, FX_V6, "fd00::9"};
	static const struct {
		const char *text;
		bool passes;
	} cases[] = {
		{"0.0.0.0", true},
		{"0.255.255.255", true},
		{"1.0.0.0", false},
		{"126.255.255.255", false},
		{"127.0.0.1", true},
		{"127.255.255.254", true},
		{"128.0.0.1", false},
		{"223.255.255.254", false},
		{"224.0.0.1", true},
		{"239.1.2.3", true},
		{"240.0.0.1", true},
		{"255.255.255.255", true},
		{"10.0.0.254", false},
		{"10.0.0.255", true},
		{"10.0.0.9", true},
		{"10.0.0.8", false},
		{FX_V4, true},
		{FX_CLIENT_V4, false},
		{"::", true},
		{"::1", true},
		{"::ffff:10.0.0.2", true},
		{"::2", true},
		{"64:ff9b::1", false},
		{"fe80::2", false},
		{"ff02::1", true},
		{"ff0e::1234", true},
		{FX_V6, true},
		{"fd00::9", true},
		{"fd00::8", false},
		{FX_CLIENT_V6, false},
	};

	(void)state;
	fx_host(&fx, own, sizeof(own) / sizeof(own[0]));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fx_flow flow = {.v6 = strchr(cases[i].text, ':'), .source = cases[i].text};
		struct fx_packet packet = fx_request(&flow);

		print_message("source %s\n", cases[i].text);
		fx_expect(&fx, &packet, cases[i].passes ? XDP_PASS : XDP_REDIRECT,
			  cases[i].passes ? FG_COUNTER_XDP_PASS_SOURCE : FG_COUNTER_XDP_STEERED);
	}
}

static void from_port_zero(struct fx_packet *packet)
{
	fx_put16(packet->bytes + packet->udp, 0);
}

static void source_port_zero_passes(void **state)
{
	(void)state;
	for_both(from_port_zero, XDP_PASS, FG_COUNTER_XDP_PASS_SOURCE);
}

/* A frame of IPv6 may name our IPv4 service by its mapped address. */
static void mapped_destinations_pass(void **state)
{
	struct fx_packet packet = fx_request(&v6);

	(void)state;
	assert_int_equal(inet_pton(AF_INET6, "::ffff:" FX_V4, packet.bytes + packet.ip + 24), 1);
	fx_expect(&fx, &packet, XDP_PASS, FG_COUNTER_XDP_PASS_SOURCE);
}

static uint16_t plain_sum(const uint8_t *ip)
{
	uint32_t sum = 0;

	for (int i = 0; i < 20; i += 2)
		sum += ip[i] << 8 | ip[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* The program's one multiplication against RFC 1071 word by word: right headers of all kinds, and
 * the same with one bit or one word off. */
static void header_checksums(void **state)
{
	uint64_t random = 1;
	int unsound = 0;

	(void)state;
	for (int run = 0; run < 4000; run++) {
		struct fx_packet packet = fx_request(&v4);
		uint8_t *ip = packet.bytes + packet.ip;

		for (int i = 0; i < 8; i++)
			random = random * 6364136223846793005ULL + 1442695040888963407ULL;
		ip[1] = random >> 56;
		memcpy(ip + 4, &random, 2);
		ip[8] = random >> 40;
		ip[13] = random >> 24;
		ip[14] = random >> 32;
		ip[15] = 2;
		fx_put_sum(ip);
		packet.unsound = true;
		if (run % 4 == 1)
			ip[10 + (random >> 60) % 2] ^= 1 << (random >> 50) % 8;
		else if (run % 4 == 2)
			fx_put16(ip + 10, random >> 44);
		else if (run % 4 == 3 && !ip[10] && !ip[11])
			fx_put16(ip + 10, 0xffff); /* the other zero: just as good */
		if (plain_sum(ip) == 0xffff) {
			fx_expect(&fx, &packet, XDP_REDIRECT, FG_COUNTER_XDP_STEERED);
			continue;
		}
		fx_expect(&fx, &packet, XDP_DROP, FG_COUNTER_XDP_DROP_CHECKSUM);
		unsound++;
	}
	assert_in_range(unsound, 1900, 2000);
}

static void no_worker(void **state)
{
	struct fx_packet packet = fx_request(&v4);

	(void)state;
	for (uint16_t slot = 0; slot < 2; slot++)
		fg_steering_set_slot(&fx.steering, slot, FX_GENERATION, FG_SLOT_FREE);
	fx_expect(&fx, &packet, XDP_DROP, FG_COUNTER_XDP_DROP_NO_SLOT);
	fx_flip(&fx, NULL, 0);
	fx_expect(&fx, &packet, XDP_DROP, FG_COUNTER_XDP_DROP_NO_SLOT);
}

static void no_table(void **state)
{
	struct sockaddr_storage address = fx_address(FX_V4, FX_PORT);
	struct fx_packet packet = fx_request(&v4);

	(void)state;
	assert_int_equal(fg_steering_listen(&fx.steering, &address, 3, 0), 0);
	fx_expect(&fx, &packet, XDP_DROP, FG_COUNTER_XDP_DROP_NO_SLOT);
}

static void worker_without_xsk(void **state)
{
	struct fx_packet packet = fx_request(&v4);
	uint32_t key;

	(void)state;
	for (uint32_t slot = 0; slot < 2; slot++) {
		key = slot * FG_MAX_QUEUES;
		assert_int_equal(bpf_map_delete_elem(fx.steering.xsks, &key), 0);
	}
	fx_expect(&fx, &packet, XDP_PASS, FG_COUNTER_XDP_PASS_NO_XSK);
}

/* The socket of the packet's own queue, on a veth with three queues and the program attached. */
static void queues(void **state)
{
	struct fx_packet packet = fx_request(&v4);
	struct fg_error error = {""};
	int ifindex;

	(void)state;
	assert_int_equal(
		system("/sbin/ip link add fgt-q0 numrxqueues 3 numtxqueues 3 type veth peer name "
		       "fgt-q1 numrxqueues 3 numtxqueues 3 && /sbin/ip link set fgt-q0 up && "
		       "/sbin/ip link set fgt-q1 up"),
		0);
	ifindex = if_nametoindex("fgt-q0");
	if (fg_steering_attach(&fx.steering, ifindex, true, &error))
		fail_msg("%s", error.text);
	for (uint16_t slot = 0; slot < 2; slot++)
		assert_int_equal(fg_steering_set_xsk(&fx.steering, slot, 2, fx.xsk[slot]), 0);
	assert_int_equal(fx_run_as(&fx, &packet, ifindex, 0), XDP_REDIRECT);
	assert_int_equal(fx_run_as(&fx, &packet, ifindex, 1), XDP_PASS);
	assert_int_equal(fx_run_as(&fx, &packet, ifindex, 2), XDP_REDIRECT);
	assert_int_equal(fx_counter(&fx, FG_COUNTER_XDP_PASS_NO_XSK), 1);
	assert_int_equal(fx_counter(&fx, FG_COUNTER_XDP_STEERED), 2);
}

static void rule(const char *prefix, uint32_t bits, enum fg_acl_action action)
{
	struct sockaddr_storage address = fx_address(prefix, 0);

	assert_int_equal(fg_steering_acl(&fx.steering, &address, bits, action), 0);
}

static void acl_expect(bool is_v6, const char *source, bool denied)
{
	struct fx_flow flow = {.v6 = is_v6, .source = source};
	struct fx_packet packet = fx_request(&flow);

	if (denied)
		fx_expect(&fx, &packet, XDP_DROP, FG_COUNTER_XDP_DROP_ACL);
	else
		fx_expect(&fx, &packet, XDP_REDIRECT, FG_COUNTER_XDP_STEERED);
}

static void acl_longest_prefix_wins(void **state)
{
	(void)state;
	acl_expect(false, "192.0.2.1", false); /* no rule: allowed */
	rule("192.0.2.0", 24, FG_ACL_DENY);
	rule("192.0.2.128", 25, FG_ACL_ALLOW);
	rule("192.0.2.200", 32, FG_ACL_DENY);
	rule("2001:db8::", 32, FG_ACL_DENY);
	rule("2001:db8:1::", 48, FG_ACL_ALLOW);
	acl_expect(false, "192.0.2.1", true);
	acl_expect(false, "192.0.2.129", false);
	acl_expect(false, "192.0.2.200", true);
	acl_expect(false, "192.0.3.1", false);
	acl_expect(true, "2001:db8::1", true);
	acl_expect(true, "2001:db8:1::1", false);
	acl_expect(true, "2001:db9::1", false);
	rule("0.0.0.0", 0, FG_ACL_DENY); /* all of IPv4, none of IPv6 */
	acl_expect(false, "192.0.3.1", true);
	acl_expect(true, "2001:db9::1", false);
}

/* The rule stands before every other verdict on a packet of ours, and for no other packet. */
static void acl_comes_first(void **state)
{
	struct fx_packet packet = fx_request(&v4);

	(void)state;
	rule(FX_CLIENT_V4, 32, FG_ACL_DENY);
	packet.bytes[packet.wire] ^= 1;
	fx_expect(&fx, &packet, XDP_DROP, FG_COUNTER_XDP_DROP_ACL);
	fx_put16(packet.bytes + packet.ip + 6, 0x2000);
	fx_expect(&fx, &packet, XDP_DROP, FG_COUNTER_XDP_DROP_ACL);
	other_address(&packet);
	fx_expect(&fx, &packet, XDP_PASS, FG_COUNTER_XDP_PASS_OTHER);
}

static void acl_disabled_is_not_asked(void **state)
{
	(void)state;
	rule(FX_CLIENT_V4, 32, FG_ACL_DENY);
	for_both(nothing, XDP_REDIRECT, FG_COUNTER_XDP_STEERED);
}

/* A wildcard listener is the stack's: XDP cannot know which addresses are local. */
static void wildcards_pass(void **state)
{
	struct fx_packet packet = fx_request(&v4);

	(void)state;
	fx_listen(&fx, "0.0.0.0", FX_PORT + 1, 2);
	fx_listen(&fx, "::", FX_PORT + 1, 3);
	fx_put16(packet.bytes + packet.udp + 2, FX_PORT + 1);
	fx_expect(&fx, &packet, XDP_PASS, FG_COUNTER_XDP_PASS_OTHER);
}

/* Random bytes behind a sound Ethernet header: any verdict but an aborted program, one counter. */
static void noise(void **state)
{
	uint64_t random = 88172645463325252ULL, before[FG_COUNTER_COUNT], after[FG_COUNTER_COUNT];
	const uint64_t runs = 20000;
	uint64_t sum = 0;

	(void)state;
	assert_int_equal(fg_steering_counters(&fx.steering, before), 0);
	for (uint64_t run = 0; run < runs; run++) {
		struct fx_flow flow = {.v6 = run & 1, .tags = run / 2 % 3};
		struct fx_packet packet = fx_request(&flow);

		for (int i = 0; i < 3; i++) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			packet.unsound = random >> 63;
			packet.bytes[12 + random % (packet.length - 12)] = random >> 32;
		}
		if (run % 4 == 0)
			packet.length = 14 + (random >> 40) % (packet.length - 14);
		assert_int_not_equal(fx_run(&fx, &packet), XDP_ABORTED);
	}
	assert_int_equal(fg_steering_counters(&fx.steering, after), 0);
	for (int i = 0; i < FG_COUNTER_FLOW_NEW; i++)
		sum += after[i] - before[i];
	assert_int_equal(sum, runs);
}

#define TEST(f)	    cmocka_unit_test_setup_teardown(f, set_up, tear_down)
#define TEST_ACL(f) cmocka_unit_test_setup_teardown(f, set_up_acl, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(requests_are_steered),
		TEST(vlan_tags),
		TEST(vlan_tag_cut_off),
		TEST(what_is_not_ours_passes),
		TEST(ipv4_options),
		TEST(ipv4_fragments),
		TEST(ipv6_extension_headers),
		TEST(cut_frames),
		TEST(lengths_that_lie),
		TEST(lengths_that_are_fine),
		TEST(several_in_one),
		TEST(foreign_protocols),
		TEST(replies_are_foreign),
		TEST(frames_for_others_pass),
		TEST(interface_addresses_change),
		TEST(sources),
		TEST(source_port_zero_passes),
		TEST(mapped_destinations_pass),
		TEST(header_checksums),
		TEST(no_worker),
		TEST(no_table),
		TEST(worker_without_xsk),
		TEST(queues),
		TEST_ACL(acl_longest_prefix_wins),
		TEST_ACL(acl_comes_first),
		TEST(acl_disabled_is_not_asked),
		TEST(wildcards_pass),
		TEST(noise),
	};

	fx_isolate();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
