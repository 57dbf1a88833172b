# Signs and verifies with Mail::DKIM: a request and an answer in JSON on each
# line.
use strict;
use warnings;
use JSON::PP;
use MIME::Base64;
use Mail::DKIM::PrivateKey;
use Mail::DKIM::Signer;
use Mail::DKIM::Verifier;
use Net::DNS;

my $text;
{
    no warnings 'redefine';
    *Mail::DKIM::DNS::query = sub {
        my ($name) = @_;
        return Net::DNS::RR->new( owner => $name, type => 'TXT', txtdata => [ unpack '(a250)*', $text ] );
    };
}

sub answer {
    my ($q) = @_;
    my $message = decode_base64( $q->{message} );
    if ( $q->{op} eq 'sign' ) {
        ( my $pem = $q->{key} ) =~ s/-----[^-]+-----|\s//g;
        my $signer = Mail::DKIM::Signer->new(
            Algorithm => $q->{algorithm}, Method => $q->{canon}, Domain => $q->{domain},
            Selector  => $q->{selector},  Key    => Mail::DKIM::PrivateKey->load( Data => $pem ),
        );
        $signer->PRINT($message);
        $signer->CLOSE;
        my $field = $signer->signature->as_string;
        $field =~ s/\r?\n/\r\n/g;
        return { fields => encode_base64( "$field\r\n", '' ) };
    }
    $text = $q->{record};
    my $verifier = Mail::DKIM::Verifier->new;
    $verifier->PRINT($message);
    $verifier->CLOSE;
    return { pass => $verifier->result eq 'pass' ? JSON::PP::true : JSON::PP::false, reason => $verifier->result_detail };
}

$| = 1;
while (<STDIN>) {
    my $out = eval { answer( decode_json($_) ) } || { error => "$@" };
    print encode_json($out), "\n";
}
